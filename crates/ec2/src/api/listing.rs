//! The end of every `Describe` operation: ids that must exist, filters, a page.

use super::filters::Filters;
use crate::error::Error;
use chassis::paging::{Limits, Page, Paging, PagingError};
use ident::Scope;
use std::collections::BTreeSet;

/// How many resources come at a time. Who does not say gets all: clients that do
/// not look for a next page are many.
const LIMITS: Limits = Limits { default: u16::MAX, min: 5, max: 1000 };

/// What a client wants to see of a list.
pub(super) struct Listing<T: 'static> {
    ids: Option<BTreeSet<String>>,
    filters: Filters<T>,
    paging: Paging,
}

/// The parameters of a list that every operation has.
pub(super) struct Pages {
    pub(super) max_results: Option<i32>,
    pub(super) next_token: Option<String>,
}

impl<T> Listing<T> {
    /// Understands a request for `list`, which is the operation's name, in `scope`. An
    /// empty list of ids says the same as none.
    pub(super) fn parse(
        scope: &Scope,
        list: &'static str,
        ids: Option<Vec<String>>,
        filters: Filters<T>,
        pages: &Pages,
    ) -> Result<Self, Error> {
        let token = pages.next_token.as_deref().filter(|token| !token.is_empty());
        let paging =
            Paging::parse(list, scope, LIMITS, pages.max_results, token).map_err(refuse)?;
        let ids = ids.filter(|ids| !ids.is_empty()).map(BTreeSet::from_iter);
        Ok(Self { ids, filters, paging })
    }

    /// The page, of `items` in the order of their ids.
    pub(super) fn page(
        &self,
        items: impl IntoIterator<Item = T>,
        id: fn(&T) -> Option<&String>,
        absent: fn(String) -> Error,
    ) -> Result<Page<T>, Error> {
        let items: Vec<T> = match &self.ids {
            None => items.into_iter().collect(),
            Some(ids) => {
                let mut missing: BTreeSet<&String> = ids.iter().collect();
                let chosen: Vec<T> = items
                    .into_iter()
                    .filter(|item| id(item).is_some_and(|id| ids.contains(id)))
                    .collect();
                for item in &chosen {
                    id(item).map(|id| missing.remove(id));
                }
                if let Some(id) = missing.into_iter().next() {
                    return Err(absent(id.clone()));
                }
                chosen
            }
        };
        let passing = items.into_iter().filter(|item| self.filters.pass(item));
        Ok(self.paging.page(passing, |item| id(item).cloned().unwrap_or_default()))
    }
}

fn refuse(error: PagingError) -> Error {
    match error {
        PagingError::Token => Error::BadToken,
        PagingError::Size { min, max } => Error::Invalid(format!(
            "The value for parameter MaxResults must be between {min} and {max}."
        )),
    }
}
