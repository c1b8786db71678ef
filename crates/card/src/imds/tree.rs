//! What a machine can be told of itself, by the paths of the instance metadata.

use std::collections::BTreeMap;

/// Documents by their paths below the version, such as `meta-data/instance-id`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<String, Leaf>);

/// What lies at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// This text.
    Text(String),
    /// The credentials of the machine's role, as they are now.
    Credentials,
}

/// What is found at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    Leaf(&'a Leaf),
    /// The names of what is below, each followed by a slash if more is below that.
    List(String),
}

impl Tree {
    pub(crate) fn put(&mut self, path: &str, text: impl Into<String>) {
        self.0.insert(path.to_owned(), Leaf::Text(text.into()));
    }

    pub(crate) fn put_credentials(&mut self, path: &str) {
        self.0.insert(path.to_owned(), Leaf::Credentials);
    }

    /// What is at a path; one slash at its end makes no difference to a list.
    pub(crate) fn find(&self, path: &str) -> Option<Found<'_>> {
        if let Some(leaf) = self.0.get(path) {
            return Some(Found::Leaf(leaf));
        }
        let directory = path.strip_suffix('/').unwrap_or(path);
        let below = |path: &str| match directory {
            "" => Some(path.to_owned()),
            _ => Some(path.strip_prefix(directory)?.strip_prefix('/')?.to_owned()),
        };
        let mut names: Vec<String> = Vec::new();
        for path in self.0.keys().filter_map(|path| below(path)) {
            let name = match path.split_once('/') {
                Some((name, _)) => format!("{name}/"),
                None => path,
            };
            if names.last() != Some(&name) {
                names.push(name);
            }
        }
        (!names.is_empty()).then(|| Found::List(names.join("\n")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_follow_from_what_there_is() {
        let mut tree = Tree::default();
        for path in
            ["dynamic/a/b", "meta-data/mac", "meta-data/macs/02:00/x", "meta-data/macs/02:00/y"]
        {
            tree.put(path, path);
        }
        tree.put_credentials("meta-data/role");
        for (path, expected) in [
            ("", Some("dynamic/\nmeta-data/")),
            ("meta-data", Some("mac\nmacs/\nrole")),
            ("meta-data/", Some("mac\nmacs/\nrole")),
            ("meta-data/macs/02:00/", Some("x\ny")),
            ("meta-data/ma", None),
            ("meta-data//", None),
            ("meta-data/mac/", None),
            ("meta", None),
            ("/", Some("dynamic/\nmeta-data/")),
        ] {
            let found = tree.find(path);
            assert_eq!(found, expected.map(|list| Found::List(list.to_owned())), "{path}");
        }
        let text = Leaf::Text("meta-data/mac".to_owned());
        assert_eq!(tree.find("meta-data/mac"), Some(Found::Leaf(&text)));
        assert_eq!(tree.find("meta-data/role"), Some(Found::Leaf(&Leaf::Credentials)));
    }
}
