//! What the generated shape tables are made of.
//!
//! The structs of a service know their JSON by themselves (`serde`). Everything
//! else one can want to know about a shape, its names in forms and XML and what
//! AWS's model demands of its values, is a table of these, so that checking,
//! form reading and XML writing are written once and not per shape.

/// A type of AWS's model. Shapes refer to each other and may be recursive.
pub struct Shape {
    /// What it is made of.
    pub kind: Kind,
    /// The least value of a number; the least length of anything else.
    pub min: Option<i64>,
    /// The greatest value or length.
    pub max: Option<i64>,
    /// The only values a string may have, if not empty.
    pub values: &'static [&'static str],
    /// What a string's characters must be.
    pub pattern: Option<Pattern>,
    /// Whether exactly one member of a structure must be there.
    pub union: bool,
}

/// What a shape is made of.
#[derive(Clone, Copy)]
#[allow(missing_docs)] // Named as in AWS's model.
pub enum Kind {
    Structure(&'static [Member]),
    List(List),
    Map(Map),
    String,
    Integer,
    Long,
    Double,
    Boolean,
    Blob,
    Timestamp,
}

/// A list, and how its items appear where items have names.
#[derive(Clone, Copy)]
pub struct List {
    /// The shape of the items.
    pub item: &'static Shape,
    /// `member` in `Name.member.1`; without it, items are `Name.1`.
    pub query: Option<&'static str>,
    /// The element around each item; without it, items repeat the list's own.
    pub xml: Option<&'static str>,
}

/// A map from strings, and how its entries appear where entries have names.
#[derive(Clone, Copy)]
pub struct Map {
    /// The shape of the values.
    pub item: &'static Shape,
    /// `entry` in `Name.entry.1.key`; without it, entries are `Name.1.key`.
    pub entry: Option<&'static str>,
    /// What an entry calls its key.
    pub key: &'static str,
    /// What an entry calls its value.
    pub value: &'static str,
}

/// A member of a structure.
#[derive(Clone, Copy)]
pub struct Member {
    /// As in the model, and in JSON.
    pub name: &'static str,
    /// As a form parameter.
    pub query: &'static str,
    /// As an XML element.
    pub xml: &'static str,
    /// Its shape.
    pub shape: &'static Shape,
    /// Whether a request without it is refused.
    pub required: bool,
}

/// The patterns we check. Most of AWS's patterns guard nothing that the owning
/// service does not check with a better text; these are the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Letters, digits, spaces and `_ . : / = + - @`, as in the keys and values
    /// of tags.
    TagText,
}

impl Pattern {
    /// The regular expression it stands for, as in the model.
    pub const fn expression(self) -> &'static str {
        match self {
            Self::TagText => r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)",
        }
    }

    /// Whether `text` matches from end to end.
    pub fn matches(self, text: &str) -> bool {
        match self {
            Self::TagText => text.chars().all(|c| {
                c.is_alphanumeric()
                    || (c.is_whitespace() && !c.is_control())
                    || "_.:/=+-@".contains(c)
            }),
        }
    }
}

/// Scalars without constraints, shared by all services.
pub mod plain {
    use super::{Kind, Shape};

    macro_rules! plain {
        ($($name:ident $kind:ident),*) => {
            $(#[allow(missing_docs)] pub static $name: Shape = Shape::new(Kind::$kind);)*
        };
    }
    plain!(
        STRING String, INTEGER Integer, LONG Long, DOUBLE Double, BOOLEAN Boolean, BLOB Blob,
        TIMESTAMP Timestamp
    );
}

// The tables are written with these, to keep them legible.
#[allow(missing_docs)]
impl Shape {
    pub const fn new(kind: Kind) -> Self {
        Self { kind, min: None, max: None, values: &[], pattern: None, union: false }
    }

    pub const fn structure(members: &'static [Member]) -> Self {
        Self::new(Kind::Structure(members))
    }

    pub const fn list(item: &'static Shape) -> Self {
        Self::new(Kind::List(List { item, query: None, xml: None }))
    }

    /// A list whose items are named in forms and in XML.
    pub const fn named(
        item: &'static Shape,
        query: Option<&'static str>,
        xml: Option<&'static str>,
    ) -> Self {
        Self::new(Kind::List(List { item, query, xml }))
    }

    pub const fn map(item: &'static Shape) -> Self {
        Self::entries(item, Some("entry"), "key", "value")
    }

    /// A map whose entries are named in forms and in XML.
    pub const fn entries(
        item: &'static Shape,
        entry: Option<&'static str>,
        key: &'static str,
        value: &'static str,
    ) -> Self {
        Self::new(Kind::Map(Map { item, entry, key, value }))
    }

    #[must_use]
    pub const fn min(self, min: i64) -> Self {
        Self { min: Some(min), ..self }
    }

    #[must_use]
    pub const fn max(self, max: i64) -> Self {
        Self { max: Some(max), ..self }
    }

    #[must_use]
    pub const fn values(self, values: &'static [&'static str]) -> Self {
        Self { values, ..self }
    }

    #[must_use]
    pub const fn union(self) -> Self {
        Self { union: true, ..self }
    }

    #[must_use]
    pub const fn pattern(self, pattern: Pattern) -> Self {
        Self { pattern: Some(pattern), ..self }
    }
}

#[allow(missing_docs)]
impl Member {
    pub const fn new(name: &'static str, shape: &'static Shape) -> Self {
        Self { name, query: name, xml: name, shape, required: false }
    }

    #[must_use]
    pub const fn query(self, query: &'static str) -> Self {
        Self { query, ..self }
    }

    #[must_use]
    pub const fn xml(self, xml: &'static str) -> Self {
        Self { xml, ..self }
    }

    #[must_use]
    pub const fn required(self) -> Self {
        Self { required: true, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn tag_text() {
        for good in ["", "a b", "Größe_1", "a.b:c/d=e+f-g@h", "\u{a0}"] {
            assert!(Pattern::TagText.matches(good), "{good:?}");
        }
        for bad in ["a\nb", "50%", "<x>", "a,b"] {
            assert!(!Pattern::TagText.matches(bad), "{bad:?}");
        }
    }
}
