//! Pages of a list, and the token that says where the next one starts.
//!
//! A token names the list it belongs to and the last item that was shown. It
//! holds no position, so a list that changes between two pages shows no item
//! twice and loses none that stayed. Clients must treat it as opaque; we treat
//! what comes back as anybody's text.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// The longest token worth looking at. Ours are far shorter.
const LONGEST_TOKEN: usize = 2048;

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paging {
    list: &'static str,
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
    /// The token is not one of ours, or another list's.
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
    list: std::borrow::Cow<'a, str>,
    #[serde(rename = "a")]
    after: std::borrow::Cow<'a, str>,
}

impl Paging {
    /// Understands a request for a page of `list`, which is the name of the
    /// operation: a token of one operation is nonsense to another.
    pub fn parse(
        list: &'static str,
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
        let after = token.map(|token| read(list, token).ok_or(PagingError::Token)).transpose()?;
        Ok(Self { list, limit: usize::from(limit), after })
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
        let next_token = items.last().filter(|_| more).map(|last| write(self.list, &key(last)));
        Page { items, next_token }
    }
}

impl<T> Page<T> {
    /// The same page, each item put differently.
    pub fn map<U>(self, into: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(into).collect(), next_token: self.next_token }
    }
}

fn write(list: &str, after: &str) -> String {
    let token = Token { list: list.into(), after: after.into() };
    // Two strings always serialize; were it otherwise, the empty token is refused.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
}

fn read(list: &str, token: &str) -> Option<String> {
    if token.len() > LONGEST_TOKEN {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let token: Token<'_> = serde_json::from_slice(&bytes).ok()?;
    (token.list == list).then(|| token.after.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { default: 100, min: 1, max: 100 };

    fn pages(items: &[&'static str], size: i32) -> Vec<Vec<&'static str>> {
        let mut token = None;
        let mut pages = Vec::new();
        loop {
            let paging = Paging::parse("ListThings", LIMITS, Some(size), token.as_deref())
                .expect("our own token");
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
        let first = Paging::parse("ListThings", LIMITS, Some(2), None).expect("sound");
        let key = |item: &&str| (*item).to_owned();
        let token = first.page(["a", "c", "e"], key).next_token;
        let next = Paging::parse("ListThings", LIMITS, Some(2), token.as_deref()).expect("our own");
        assert_eq!(next.after(), Some("c"));
        // The item that the token names is gone, and another has appeared before it.
        assert_eq!(next.page(["b", "d", "e"], key).items, ["d", "e"]);
    }

    #[test]
    fn nonsense_is_refused() {
        let ours = write("ListThings", "a");
        for token in ["", "x", "e30", "bnVsbA", &ours[1..], &format!("{ours}=="), &"A".repeat(5000)]
        {
            let parsed = Paging::parse("ListThings", LIMITS, None, Some(token));
            assert_eq!(parsed, Err(PagingError::Token), "{token}");
        }
        let parsed = Paging::parse("ListOthers", LIMITS, None, Some(&ours));
        assert_eq!(parsed, Err(PagingError::Token), "another list's");
        for size in [-1, 0, 101, i32::MAX, i32::MIN] {
            let parsed = Paging::parse("ListThings", LIMITS, Some(size), None);
            assert_eq!(parsed, Err(PagingError::Size { min: 1, max: 100 }), "{size}");
        }
    }
}
