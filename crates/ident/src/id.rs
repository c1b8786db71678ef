//! A type for every id, so that a task's cannot be passed where an instance's
//! belongs.
//!
//! Three families exist: EC2 resource ids (`eni-` and 17 hex digits), ECS ids
//! (32 hex digits, or a UUID for attachments), and names that users choose.

use crate::Timestamp;
use crate::text::text_type;
use alloc::borrow::ToOwned;
use alloc::format;

macro_rules! ec2_ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal;)*) => {$(
        text_type!($(#[$doc])* $name, concat!("an id of the form ", $prefix, "-0123456789abcdef0"), |text| {
            text.strip_prefix(concat!($prefix, "-"))
                .is_some_and(|digits| matches!(digits.len(), 8 | 17) && is_lower_hex(digits))
        });

        impl $name {
            /// A new id from random bits; the low 68 are used.
            pub fn mint(random: u128) -> Self {
                Self(format!(concat!($prefix, "-{:017x}"), random & ((1 << 68) - 1)))
            }
        }
    )*};
}

macro_rules! ecs_ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        text_type!($(#[$doc])* $name, "an id of 32 hexadecimal digits", |text| {
            text.len() == 32 && is_lower_hex(text)
        });
    )*};
}

ec2_ids! {
    /// A virtual private cloud.
    VpcId "vpc";
    /// A subnet of a VPC.
    SubnetId "subnet";
    /// An elastic network interface.
    EniId "eni";
    /// The attachment of a network interface to an EC2 instance.
    EniAttachmentId "eni-attach";
    /// A security group.
    SecurityGroupId "sg";
    /// One rule of a security group.
    SecurityGroupRuleId "sgr";
    /// A prefix list: blocks of addresses under one name.
    PrefixListId "pl";
    /// A route table.
    RouteTableId "rtb";
    /// An EC2 instance: a machine that stands in a VPC.
    InstanceId "i";
}

ecs_ids! {
    /// A task.
    TaskId;
    /// An EC2 or external instance as a cluster knows it.
    ContainerInstanceId;
}

impl TaskId {
    /// A new id from the time and random bits: the digits of a UUID of version 7
    /// (RFC 9562), of which 74 bits are random.
    ///
    /// Ids that are made together lie together in whatever is ordered by them, and a
    /// write costs by the places that it touches.
    pub fn mint(now: Timestamp, random: u128) -> Self {
        let millis = u128::try_from(now.0).unwrap_or(0) & ((1 << 48) - 1);
        let bits = (millis << 80) | (random & ((1 << 80) - 1));
        Self(format!("{:032x}", uuid(bits, 7)))
    }
}

impl ContainerInstanceId {
    /// A new id from random bits.
    pub fn mint(random: u128) -> Self {
        Self(format!("{random:032x}"))
    }

    /// The number that its digits write. Ids are in the order of their numbers, which
    /// are compared without looking up any text.
    pub fn number(&self) -> u128 {
        u128::from_str_radix(&self.0, 16).unwrap_or_default()
    }
}

/// These bits as a UUID of this version.
fn uuid(bits: u128, version: u128) -> u128 {
    (bits & !(0xf << 76) & !(0x3 << 62)) | (version << 76) | (0x2 << 62)
}

text_type!(
    /// Something attached to a task, in practice its network interface: a UUID.
    AttachmentId,
    "a UUID",
    |text| {
        text.len() == 36
            && text.char_indices().all(|(at, c)| match at {
                8 | 13 | 18 | 23 => c == '-',
                _ => c.is_ascii_digit() || ('a'..='f').contains(&c),
            })
    }
);

impl AttachmentId {
    /// A new version 4 UUID from random bits.
    pub fn mint(random: u128) -> Self {
        let hex = format!("{:032x}", uuid(random, 4));
        Self(format!(
            "{}-{}-{}-{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..]
        ))
    }
}

text_type!(
    /// The name of a cluster.
    ClusterName,
    "a name of 1 to 255 letters, digits, hyphens and underscores",
    is_name
);
text_type!(
    /// The family that a task definition is a revision of.
    Family,
    "a name of 1 to 255 letters, digits, hyphens and underscores",
    is_name
);

impl Default for ClusterName {
    /// The cluster that a request means when it names none.
    fn default() -> Self {
        Self("default".to_owned())
    }
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn is_name(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn minted_ids_have_the_shape_that_parsing_demands() {
        for random in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            assert_eq!(EniId::mint(random).to_string().parse(), Ok(EniId::mint(random)));
            for now in [Timestamp(i64::MIN), Timestamp(0), Timestamp(i64::MAX)] {
                let task = TaskId::mint(now, random);
                assert_eq!(task.to_string().parse(), Ok(task));
            }
            let attachment = AttachmentId::mint(random).to_string();
            assert_eq!(attachment.parse(), Ok(AttachmentId::mint(random)));
            assert_eq!(&attachment[14..15], "4", "{attachment}");
        }
        assert_eq!(EniId::mint(0x1f).as_str(), "eni-0000000000000001f");
        assert_eq!(ContainerInstanceId::mint(u128::MAX).number(), u128::MAX);
    }

    #[test]
    fn of_two_tasks_the_later_comes_after() {
        let [early, late] = [(1, u128::MAX), (2, 0)]
            .map(|(at, bits)| TaskId::mint(Timestamp(1_700_000_000_000 + at), bits));
        assert!(early < late, "{early} {late}");
        assert_eq!(early.as_str(), "018bcfe568017fffbfffffffffffffff");
    }

    #[test]
    fn another_kind_is_refused() {
        assert!("eni-0123456789abcdef0".parse::<SubnetId>().is_err());
        assert!("subnet-0123456789abcdeg0".parse::<SubnetId>().is_err());
        assert!("subnet-12345678".parse::<SubnetId>().is_ok(), "the ids of before 2018");
        assert!("a b".parse::<ClusterName>().is_err());
        assert!("".parse::<ClusterName>().is_err());
        assert!("é".parse::<Family>().is_err());
    }

    #[test]
    fn serialized_ids_are_checked_on_the_way_in() {
        assert!(serde_json::from_str::<TaskId>("\"nonsense\"").is_err());
        let id = TaskId::mint(Timestamp(0), 7);
        let json = serde_json::to_string(&id).expect("serializes");
        assert_eq!(serde_json::from_str::<TaskId>(&json).expect("parses"), id);
    }
}
