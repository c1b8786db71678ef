//! Pages of a list, and the token that says where the next one starts.
//!
//! A token names the list it belongs to, whose and where that is, and the last item
//! that was shown. It
//! holds no position, so a list that changes between two pages shows no item
//! twice and loses none that stayed. Clients must treat it as opaque; we treat
//! what comes back as anybody's text.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ident::Scope;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The longest token worth looking at. Ours are far shorter.
const LONGEST_TOKEN: usize = 2048;

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paging {
    list: &'static str,
    scope: String,
    limit: usize,
    after: Option<String>,
}

/// How many items an operation shows at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// If the client does not say.
    pub default: u16,
    /// The fewest it may ask for.
    pub min: u16,
    /// The most it may ask for.
    pub max: u16,
}

/// Why a request for a page is refused. Each service has its own words for
/// these; in ECS both are an `InvalidParameterException`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PagingError {
    /// The token is not one of ours, or another list's, account's or region's.
    #[error("the token is not valid")]
    Token,
    /// The wanted size is out of range.
    #[error("the page size must be between {min} and {max}")]
    Size {
        /// The smallest page.
        min: u16,
        /// The largest page.
        max: u16,
    },
}

/// Some items of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where to go on, if there is more.
    pub next_token: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Token<'a> {
    #[serde(rename = "l")]
    list: Cow<'a, str>,
    #[serde(rename = "s")]
    scope: Cow<'a, str>,
    #[serde(rename = "a")]
    after: Cow<'a, str>,
}

impl Paging {
    /// Understands a request for a page of `list`, which is the name of the
    /// operation, in `scope`: a token of one is nonsense to another.
    ///
    /// A token is not a secret. Who writes one gets to see a page of the same list,
    /// from another place in it.
    pub fn parse(
        list: &'static str,
        scope: &Scope,
        limits: Limits,
        size: Option<i32>,
        token: Option<&str>,
    ) -> Result<Self, PagingError> {
        let Limits { default, min, max } = limits;
        let limit = match size {
            None => default,
            Some(size) => u16::try_from(size)
                .ok()
                .filter(|size| (min..=max).contains(size))
                .ok_or(PagingError::Size { min, max })?,
        };
        let scope = scope.to_string();
        let read = |token| read(list, &scope, token).ok_or(PagingError::Token);
        let after = token.map(read).transpose()?;
        Ok(Self { list, limit: usize::from(limit), after, scope })
    }

    /// The key that the page starts after, for those who can seek.
    pub fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// The page of `items` that was asked for. They must come in the order of
    /// `key`, each with a key of its own, as records do in a view.
    pub fn page<T>(
        &self,
        items: impl IntoIterator<Item = T>,
        key: impl Fn(&T) -> String,
    ) -> Page<T> {
        let mut rest = items
            .into_iter()
            .skip_while(|item| self.after.as_ref().is_some_and(|after| key(item) <= *after));
        let items: Vec<T> = rest.by_ref().take(self.limit).collect();
        let more = rest.next().is_some();
        let last = items.last().filter(|_| more);
        let next_token = last.map(|last| write(self.list, &self.scope, &key(last)));
        Page { items, next_token }
    }
}

impl<T> Page<T> {
    /// The same page, each item put differently.
    pub fn map<U>(self, into: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(into).collect(), next_token: self.next_token }
    }
}

fn write(list: &str, scope: &str, after: &str) -> String {
    let token = Token { list: list.into(), scope: scope.into(), after: after.into() };
    // Two strings always serialize; were it otherwise, the empty token is refused.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
}

fn read(list: &str, scope: &str, token: &str) -> Option<String> {
    if token.len() > LONGEST_TOKEN {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let token: Token<'_> = serde_json::from_slice(&bytes).ok()?;
    (token.list == list && token.scope == scope).then(|| token.after.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { default: 100, min: 1, max: 100 };
    const HERE: &str = "123456789012/eu-west-1";

    fn scope(text: &str) -> Scope {
        let (account, region) = text.split_once('/').expect("both");
        Scope {
            account: account.parse().expect("an account"),
            region: region.parse().expect("a region"),
        }
    }

    fn parse(
        list: &'static str,
        size: Option<i32>,
        token: Option<&str>,
    ) -> Result<Paging, PagingError> {
        Paging::parse(list, &scope(HERE), LIMITS, size, token)
    }

    fn pages(items: &[&'static str], size: i32) -> Vec<Vec<&'static str>> {
        let mut token = None;
        let mut pages = Vec::new();
        loop {
            let paging = parse("ListThings", Some(size), token.as_deref()).expect("our own token");
            let page = paging.page(items.iter().copied(), |item| (*item).to_owned());
            pages.push(page.items);
            token = page.next_token;
            if token.is_none() {
                return pages;
            }
        }
    }

    #[test]
    fn every_item_is_on_one_page() {
        for (items, size, wanted) in [
            (&[][..], 2, vec![vec![]]),
            (&["a", "b"], 2, vec![vec!["a", "b"]]),
            (&["a", "b", "c"], 2, vec![vec!["a", "b"], vec!["c"]]),
            (&["a", "b", "c", "d"], 2, vec![vec!["a", "b"], vec!["c", "d"]]),
            (&["a", "é/…", "ü"], 1, vec![vec!["a"], vec!["é/…"], vec!["ü"]]),
        ] {
            assert_eq!(pages(items, size), wanted);
        }
    }

    #[test]
    fn a_list_may_change_between_pages() {
        let first = parse("ListThings", Some(2), None).expect("sound");
        let key = |item: &&str| (*item).to_owned();
        let token = first.page(["a", "c", "e"], key).next_token;
        let next = parse("ListThings", Some(2), token.as_deref()).expect("our own");
        assert_eq!(next.after(), Some("c"));
        // The item that the token names is gone, and another has appeared before it.
        assert_eq!(next.page(["b", "d", "e"], key).items, ["d", "e"]);
    }

    #[test]
    fn nonsense_is_refused() {
        let ours = write("ListThings", HERE, "a");
        assert!(parse("ListThings", None, Some(&ours)).is_ok());
        for token in ["", "x", "e30", "bnVsbA", &ours[1..], &format!("{ours}=="), &"A".repeat(5000)]
        {
            let parsed = parse("ListThings", None, Some(token));
            assert_eq!(parsed, Err(PagingError::Token), "{token}");
        }
        let parsed = parse("ListOthers", None, Some(&ours));
        assert_eq!(parsed, Err(PagingError::Token), "another list's");
        for elsewhere in ["123456789013/eu-west-1", "123456789012/eu-west-2"] {
            let scope = scope(elsewhere);
            let parsed = Paging::parse("ListThings", &scope, LIMITS, None, Some(&ours));
            assert_eq!(parsed, Err(PagingError::Token), "{elsewhere}");
        }
        for size in [-1, 0, 101, i32::MAX, i32::MIN] {
            let parsed = parse("ListThings", Some(size), None);
            assert_eq!(parsed, Err(PagingError::Size { min: 1, max: 100 }), "{size}");
        }
    }
}
