//! Filters, as every `Describe` operation takes them.
//!
//! A resource passes if for each filter one of its values matches one of the
//! filter's. Filters look at what would be shown, so that what a client reads in
//! an answer is what it can ask for.

use crate::error::Error;
use std::collections::BTreeMap;
use wire::ec2::{Filter, Tag};

/// As many values as the filters of one request may have.
const MAX_VALUES: usize = 200;

/// A filter that an operation has: its names, and the resource's values for it.
/// A filter on what nothing here has, such as a customer gateway, is
/// [`nothing`]: it is known and matches no resource.
pub(super) struct Field<T>(pub(super) &'static [&'static str], pub(super) fn(&T) -> Vec<String>);

/// The values of no resource.
pub(super) fn nothing<T>(_: &T) -> Vec<String> {
    Vec::new()
}

/// The values of a member that may be missing.
pub(super) fn one(value: Option<&impl ToString>) -> Vec<String> {
    value.map(ToString::to_string).into_iter().collect()
}

/// The values of a member of many parts.
pub(super) fn each<T>(parts: Option<&Vec<T>>, value: impl Fn(&T) -> Option<String>) -> Vec<String> {
    parts.into_iter().flatten().filter_map(value).collect()
}

/// A moment as filters compare it.
pub(super) fn moment(value: Option<wire::Timestamp>) -> Vec<String> {
    value.and_then(wire::Timestamp::iso8601).into_iter().collect()
}

/// The filters of one request, found to be ones that the operation has.
pub(super) struct Filters<T: 'static> {
    wanted: Vec<(Test<T>, Vec<Pattern>)>,
    tags: fn(&T) -> Option<&Vec<Tag>>,
}

enum Test<T> {
    Field(fn(&T) -> Vec<String>),
    /// A tag with this key has the value.
    Tag(String),
    /// There is a tag with the key.
    TagKey,
}

impl<T> Filters<T> {
    /// Understands the filters of a request.
    pub(super) fn parse(
        filters: Option<Vec<Filter>>,
        fields: &[Field<T>],
        tags: fn(&T) -> Option<&Vec<Tag>>,
    ) -> Result<Self, Error> {
        let mut merged: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for filter in filters.unwrap_or_default() {
            let name = filter.name.ok_or_else(|| Error::NoFilter("null".to_owned()))?;
            merged.entry(name).or_default().extend(filter.values.unwrap_or_default());
        }
        let values = merged.values().map(Vec::len).sum();
        if values > MAX_VALUES {
            return Err(Error::TooManyFilterValues(values));
        }
        let wanted = merged
            .into_iter()
            .map(|(name, values)| {
                let test = test(&name, fields).ok_or(Error::NoFilter(name))?;
                Ok((test, values.iter().map(|value| Pattern::new(value)).collect()))
            })
            .collect::<Result<_, Error>>()?;
        Ok(Self { wanted, tags })
    }

    /// Whether the resource passes all of them.
    pub(super) fn pass(&self, item: &T) -> bool {
        self.wanted.iter().all(|(test, patterns)| {
            let tags = || (self.tags)(item).into_iter().flatten();
            let values: Vec<String> = match test {
                Test::Field(values) => values(item),
                Test::TagKey => tags().filter_map(|tag| tag.key.clone()).collect(),
                Test::Tag(key) => tags()
                    .filter(|tag| tag.key.as_ref() == Some(key))
                    .filter_map(|tag| tag.value.clone())
                    .collect(),
            };
            values.iter().any(|value| patterns.iter().any(|pattern| pattern.matches(value)))
        })
    }
}

fn test<T>(name: &str, fields: &[Field<T>]) -> Option<Test<T>> {
    if name == "tag-key" {
        return Some(Test::TagKey);
    }
    if let Some(key) = name.strip_prefix("tag:") {
        return Some(Test::Tag(key.to_owned()));
    }
    let field = fields.iter().find(|Field(names, _)| names.contains(&name))?;
    Some(Test::Field(field.1))
}

/// A value of a filter: `*` stands for any text, `?` for any character, and a
/// backslash takes the meaning from the next.
#[derive(Debug)]
struct Pattern(Vec<Piece>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Exactly(char),
    AnyOne,
    Any,
}

impl Pattern {
    fn new(text: &str) -> Self {
        let mut pieces = Vec::with_capacity(text.len());
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let piece = match c {
                '*' => Piece::Any,
                '?' => Piece::AnyOne,
                '\\' => Piece::Exactly(chars.next().unwrap_or('\\')),
                c => Piece::Exactly(c),
            };
            // Two in a row say what one says, and would cost time.
            if piece != Piece::Any || pieces.last() != Some(&Piece::Any) {
                pieces.push(piece);
            }
        }
        Self(pieces)
    }

    /// In time proportional to the product of both lengths, whatever the pattern.
    fn matches(&self, text: &str) -> bool {
        // Which prefixes of the pattern match what has been read of the text.
        let mut state = vec![false; self.0.len() + 1];
        state[0] = true;
        self.skip_stars(&mut state);
        for c in text.chars() {
            let mut next = vec![false; state.len()];
            for (at, piece) in self.0.iter().enumerate() {
                if !state[at] {
                    continue;
                }
                match piece {
                    Piece::Any => next[at] = true,
                    Piece::AnyOne => next[at + 1] = true,
                    Piece::Exactly(wanted) => next[at + 1] |= *wanted == c,
                }
            }
            self.skip_stars(&mut next);
            state = next;
        }
        state.last() == Some(&true)
    }

    fn skip_stars(&self, state: &mut [bool]) {
        for (at, piece) in self.0.iter().enumerate() {
            if *piece == Piece::Any && state[at] {
                state[at + 1] = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, text, matches) in [
            ("default", "default", true),
            ("default", "defaults", false),
            ("Default", "default", false),
            ("def*", "default", true),
            ("*", "", true),
            ("**a**", "bab", true),
            ("*aul?", "default", true),
            ("?", "", false),
            ("d?f", "d.f", true),
            (r"a\*b", "a*b", true),
            (r"a\*b", "axb", false),
            (r"\", r"\", true),
            ("a.b", "axb", false),
            ("*ab*ab", "ababab", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), matches, "{pattern} on {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_is_quick() {
        let pattern = Pattern::new(&"*a".repeat(100));
        assert!(!pattern.matches(&"a".repeat(99).repeat(3).replace("aa", "ab")[..99]));
    }

    #[test]
    fn filters_are_and_values_are_or() {
        struct Thing(&'static str, Vec<Tag>);
        let fields = [Field::<Thing>(&["name", "theName"], |thing| one(Some(&thing.0)))];
        let tag = |key: &str, value: &str| Tag { key: Some(key.into()), value: Some(value.into()) };
        let thing = Thing("x", vec![tag("env", "prod"), tag("team", "net")]);
        let pass = |filters: &[(&str, &[&str])]| {
            let filters = filters.iter().map(|(name, values)| Filter {
                name: Some((*name).to_owned()),
                values: Some(values.iter().map(|value| (*value).to_owned()).collect()),
            });
            Filters::parse(Some(filters.collect()), &fields, |thing| Some(&thing.1))
                .map(|filters| filters.pass(&thing))
        };
        for (filters, passes) in [
            (&[][..], true),
            (&[("name", &["y", "x"][..])], true),
            (&[("theName", &["y"])], false),
            (&[("name", &["x"]), ("tag:env", &["test"])], false),
            (&[("name", &["x"]), ("tag:env", &["pr*"])], true),
            (&[("tag-key", &["team"])], true),
            (&[("tag-key", &["prod"])], false),
            (&[("tag:other", &["*"])], false),
            (&[("name", &[])], false),
        ] {
            assert_eq!(pass(filters).expect("known filters"), passes, "{filters:?}");
        }
        let many = vec!["x"; MAX_VALUES + 1];
        assert!(pass(&[("name", &many[1..])]).expect("as many as there may be"));
        let refused = pass(&[("name", &many)]).expect_err("too many");
        assert_eq!(refused.fault().code, "FilterLimitExceeded");
        let refused = pass(&[("nonsense", &["x"])]).expect_err("an unknown filter");
        assert_eq!(refused.fault().message, "The filter 'nonsense' is invalid");
    }
}
