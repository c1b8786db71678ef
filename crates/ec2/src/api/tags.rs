//! Tags, as requests bring them and answers show them.

use crate::error::Error;
use ident::Tags;
use wire::ec2::{Tag, TagSpecification};

/// How many tags a resource may have.
const MAX_TAGS: usize = 50;
/// How long a key may be, in characters.
const MAX_KEY: usize = 128;
/// How long a value may be, in characters.
const MAX_VALUE: usize = 256;

/// The tags that a new resource of this kind shall have.
pub(super) fn read(
    specifications: Option<Vec<TagSpecification>>,
    kind: &'static str,
) -> Result<Tags, Error> {
    let mut tags = Tags::default();
    for specification in specifications.unwrap_or_default() {
        let named = specification.resource_type.ok_or(Error::Missing("resourceType"))?;
        if named != kind {
            return Err(Error::Invalid(format!(
                "'{named}' is not a valid taggable resource type for this operation."
            )));
        }
        for tag in specification.tags.unwrap_or_default() {
            insert(&mut tags, tag)?;
        }
    }
    within_limits(&tags)?;
    Ok(tags)
}

/// Tags that a request wants a resource to have, each key once.
pub(super) fn sound_all(wanted: Vec<Tag>) -> Result<Tags, Error> {
    let mut tags = Tags::default();
    for tag in wanted {
        insert(&mut tags, tag)?;
    }
    within_limits(&tags)?;
    Ok(tags)
}

/// Whether a resource may have these. Those that AWS's services give do not count.
pub(super) fn within_limits(tags: &Tags) -> Result<(), Error> {
    let counted = tags.iter().filter(|(key, _)| !reserved(key)).count();
    if counted > MAX_TAGS { Err(Error::TooManyTags) } else { Ok(()) }
}

fn insert(tags: &mut Tags, tag: Tag) -> Result<(), Error> {
    let key = tag.key.unwrap_or_default();
    let value = tag.value.unwrap_or_default();
    sound_key(&key)?;
    if value.chars().count() > MAX_VALUE {
        return Err(Error::Invalid(format!(
            "Tag value exceeds the maximum length of {MAX_VALUE} characters"
        )));
    }
    if tags.0.contains_key(&key) {
        return Err(Error::Invalid(format!("Tag key '{key}' is specified more than once.")));
    }
    tags.0.insert(key, value);
    Ok(())
}

/// Refuses what a client cannot use as a key.
pub(super) fn sound_key(key: &str) -> Result<(), Error> {
    if key.is_empty() {
        return Err(Error::Invalid("Tag keys cannot be empty.".to_owned()));
    }
    if reserved(key) {
        return Err(Error::Invalid(
            "Tag keys starting with 'aws:' are reserved for internal use".to_owned(),
        ));
    }
    if key.chars().count() > MAX_KEY {
        return Err(Error::Invalid(format!(
            "Tag key exceeds the maximum length of {MAX_KEY} characters"
        )));
    }
    Ok(())
}

/// Whether only AWS's own services use the key.
pub(super) fn reserved(key: &str) -> bool {
    key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:"))
}

/// The tags in an answer.
#[expect(clippy::unnecessary_wraps, reason = "every member of every shape is optional")]
pub(super) fn show(tags: &Tags) -> Option<Vec<Tag>> {
    let show = |(key, value): (&str, &str)| Tag {
        key: Some(key.to_owned()),
        value: Some(value.to_owned()),
    };
    Some(tags.iter().map(show).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(kind: &str, tags: &[(&str, &str)]) -> Result<Tags, Error> {
        let tags = tags.iter().map(|(key, value)| Tag {
            key: Some((*key).to_owned()),
            value: Some((*value).to_owned()),
        });
        let specification =
            TagSpecification { resource_type: Some(kind.to_owned()), tags: Some(tags.collect()) };
        read(Some(vec![specification]), "security-group")
    }

    #[test]
    fn tags_come_back_in_order() {
        let tags = read_one("security-group", &[("b", ""), ("a", "1")]).expect("sound tags");
        assert_eq!(tags.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "")]);
    }

    #[test]
    fn what_aws_refuses_is_refused() {
        let long = "k".repeat(129);
        let many: Vec<String> = (0..51).map(|n| n.to_string()).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|key| (key.as_str(), "")).collect();
        for (kind, tags, code) in [
            ("instance", &[("a", "b")][..], "InvalidParameterValue"),
            ("security-group", &[("aws:x", "b")], "InvalidParameterValue"),
            ("security-group", &[("", "b")], "InvalidParameterValue"),
            ("security-group", &[(&long, "b")], "InvalidParameterValue"),
            ("security-group", &[("a", "1"), ("a", "2")], "InvalidParameterValue"),
            ("security-group", &many, "TagLimitExceeded"),
        ] {
            let refused = read_one(kind, tags).expect_err("refused");
            assert_eq!(refused.fault().code, code, "{kind} {tags:?}");
        }
    }
}
