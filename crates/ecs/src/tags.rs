//! The rules of tags, which are the same for everything that has some.
//!
//! What a key and a value may be made of is in AWS's model, and so is how many
//! one request may bring; here is what the model does not say.

use crate::Error;
use ident::Tags;
use std::collections::BTreeMap;
use wire::ecs::Tag;

/// As many tags as a thing may have, besides those that the system gives it.
pub(crate) const MAX_TAGS: usize = 50;

/// The prefix of the keys that AWS, and nobody else, gives to things.
const RESERVED: &str = "aws:";

/// Tags as a request brings them.
pub(crate) fn read(tags: Option<Vec<Tag>>) -> Result<Tags, Error> {
    let mut all = BTreeMap::new();
    for tag in tags.unwrap_or_default() {
        let key = tag.key.ok_or_else(|| Error::invalid("Tag keys can not be null."))?;
        ours_to_give(&key)?;
        if all.insert(key.clone(), tag.value.unwrap_or_default()).is_some() {
            return Err(Error::invalid(format!("Duplicate tag keys are not allowed: {key}")));
        }
    }
    Ok(Tags(all))
}

/// Tags as a response shows them.
pub(crate) fn show(tags: &Tags) -> Vec<Tag> {
    let show = |(key, value): (&str, &str)| Tag {
        key: Some(key.to_owned()),
        value: Some(value.to_owned()),
    };
    tags.iter().map(show).collect()
}

/// `tags` with `more`, which win.
pub(crate) fn add(tags: &mut Tags, more: &Tags) -> Result<(), Error> {
    let mut all = tags.clone();
    all.0.extend(more.0.clone());
    if all.iter().filter(|(key, _)| !reserved(key)).count() > MAX_TAGS {
        return Err(Error::TooManyTags);
    }
    *tags = all;
    Ok(())
}

/// Takes the tags of these keys away. Keys that are not there are none.
pub(crate) fn remove(tags: &mut Tags, keys: &[String]) -> Result<(), Error> {
    for key in keys {
        ours_to_give(key)?;
    }
    tags.0.retain(|key, _| !keys.contains(key));
    Ok(())
}

fn reserved(key: &str) -> bool {
    key.get(..RESERVED.len()).is_some_and(|start| start.eq_ignore_ascii_case(RESERVED))
}

/// What has the reserved prefix can neither be given nor taken by a user.
fn ours_to_give(key: &str) -> Result<(), Error> {
    if reserved(key) {
        return Err(Error::invalid(format!(
            "Tag keys starting with '{RESERVED}' are reserved for system use: {key}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(count: usize) -> Tags {
        (0..count).map(|number| (format!("k{number}"), String::new())).collect()
    }

    #[test]
    fn a_thing_has_fifty_tags_besides_those_of_the_system() {
        let mut tags = numbered(49);
        tags.0.insert("aws:ecs:clusterName".to_owned(), "web".to_owned());
        add(&mut tags, &numbered(50)).expect("fifty");
        let before = tags.clone();
        let more = Tags::from_iter([("x".to_owned(), String::new())]);
        assert!(matches!(add(&mut tags, &more), Err(Error::TooManyTags)));
        assert_eq!(tags, before, "a refusal leaves no trace");
    }

    #[test]
    fn what_the_system_gave_stays() {
        let mut tags = Tags::from_iter([
            ("aws:ecs:clusterName".to_owned(), "web".to_owned()),
            ("team".to_owned(), "a".to_owned()),
        ]);
        assert!(remove(&mut tags, &["team".to_owned(), "AWS:ecs:clusterName".to_owned()]).is_err());
        assert_eq!(tags.0.len(), 2);
        remove(&mut tags, &["team".to_owned(), "never-there".to_owned()]).expect("removed");
        assert_eq!(tags.0.len(), 1);
    }
}
