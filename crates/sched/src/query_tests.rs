//! The query language: its grammar, its meaning, and what it refuses.

use super::*;
use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec;
use proptest::prelude::*;

/// A container instance as a test tells it.
#[derive(Clone, Debug)]
struct Told {
    connected: bool,
    version: Option<&'static str>,
    attributes: BTreeMap<&'static str, &'static str>,
    ec2: Option<&'static str>,
    registered: Timestamp,
    running: u32,
    groups: Vec<&'static str>,
}

impl Facts for Told {
    fn agent_connected(&self) -> bool {
        self.connected
    }
    fn agent_version(&self) -> Option<&str> {
        self.version
    }
    fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).copied()
    }
    fn ec2_instance(&self) -> Option<&str> {
        self.ec2
    }
    fn registered_at(&self) -> Timestamp {
        self.registered
    }
    fn running_tasks(&self) -> u32 {
        self.running
    }
    fn any_group(&self, wanted: &mut dyn FnMut(&str) -> bool) -> bool {
        self.groups.iter().any(|group| wanted(group))
    }
}

fn told() -> Told {
    Told {
        connected: true,
        version: Some("1.14.5"),
        attributes: [
            ("ecs.instance-type", "g2.2xlarge"),
            ("ecs.availability-zone", "us-east-1a"),
            ("rack", "12"),
            ("flag", ""),
        ]
        .into(),
        ec2: Some("i-abcd1234"),
        registered: Timestamp(1_529_360_908_000), // 2018-06-18T22:28:28Z
        running: 1,
        groups: vec!["service:production", "database"],
    }
}

#[test]
fn expressions_select_what_they_say() {
    for (text, expected) in [
        // The examples of AWS's documentation.
        ("attribute:ecs.instance-type == t2.small", false),
        ("attribute:ecs.availability-zone in [us-east-1a, us-east-1b]", true),
        (
            "attribute:ecs.instance-type =~ g2.* and attribute:ecs.availability-zone != us-east-1d",
            true,
        ),
        ("task:group == service:production", true),
        ("not(task:group == database)", false),
        ("runningTasksCount == 1", true),
        ("agentVersion < 1.14.5", false),
        ("registeredAt < 2018-02-13", false),
        ("ec2InstanceId in ['i-abcd1234', 'i-wxyx7890']", true),
        // Every operator, in signs and in words.
        ("attribute:rack equals 12", true),
        ("attribute:rack not_equals 12", false),
        ("attribute:rack greater_than 9", true),
        ("attribute:rack > a", false),
        ("attribute:rack greater_than_equal 12", true),
        ("attribute:rack >= 13", false),
        ("attribute:rack less_than 13", true),
        ("attribute:rack less_than_equal 11", false),
        ("attribute:rack <= 12", true),
        ("attribute:rack exists", true),
        ("attribute:flag exists", true),
        ("attribute:row exists", false),
        ("attribute:row !exists", true),
        ("attribute:row not_exists", true),
        ("attribute:rack in [11,12]", true),
        ("attribute:rack !in [11,12]", false),
        ("attribute:rack not_in[11, 13]", true),
        ("attribute:rack matches [0-9]+", true),
        ("attribute:rack =~ 1", false),
        ("attribute:rack !~ 1", true),
        ("attribute:rack not_matches '(1|2)+'", false),
        ("attribute:rack =~ \"(1|2)+\"", true),
        // What is not there satisfies a negation only.
        ("attribute:row != 1", true),
        ("attribute:row == 1", false),
        ("attribute:row !~ .*", true),
        ("attribute:flag == ''", true),
        // The other subjects.
        ("agentConnected==true", true),
        ("agentConnected != true", false),
        ("agentConnected in [false]", false),
        ("agentConnected =~ t.*", true),
        ("agentVersion >= 1.9.0", true),
        ("agentVersion == 1.14.5", true),
        ("agentVersion > 1.14", true),
        ("registeredAt == 2018-06-18T22:28:28", true),
        ("registeredAt == 2018-06-18T22:28:28Z", true),
        ("registeredAt == 2018-06-18T22:28:28+00:00", true),
        ("registeredAt == 2018-06-19T00:28:28+02:00", true),
        ("registeredAt > 2018-06-18", true),
        ("runningTasksCount > 1", false),
        ("task:group in [web, database]", true),
        ("task:group =~ service:.*", true),
        ("task:group exists", true),
        // Precedence and parentheses.
        ("agentConnected == false and attribute:row exists or attribute:rack exists", true),
        ("agentConnected == false && (attribute:row exists || attribute:rack exists)", false),
        ("!agentConnected == false", true),
        ("! (attribute:rack == 12) or not not attribute:rack == 12", true),
        ("(((attribute:rack == 12)))", true),
        ("attribute:rack == 12&&attribute:rack == 12||attribute:row exists", true),
    ] {
        let expression = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(expression.selects(&told()), expected, "{text} was read as {expression}");
    }
}

#[test]
fn errors_point_at_the_place() {
    for (text, start, problem) in [
        ("", 0, "expected agentConnected"),
        ("   ", 3, "it ends here"),
        ("instanceType == a", 0, "found 'instanceType'"),
        ("attribute: == a", 0, "has no name"),
        ("attribute:a", 11, "expected an operator behind attribute:a"),
        ("attribute:a = b", 12, "written '=='"),
        ("attribute:a ==", 14, "expected a value"),
        ("attribute:a == b c", 17, "expected '&&', '||' or the end, found 'c'"),
        ("attribute:a == b and", 20, "expected agentConnected"),
        ("attribute:a == 'b", 15, "not closed"),
        ("attribute:a in b", 15, "expected a list"),
        ("attribute:a in []", 16, "expected a value"),
        ("attribute:a in [b c]", 18, "expected ',' or ']'"),
        ("(attribute:a exists", 19, "expected ')'"),
        ("attribute:a =~ '(a'", 15, "unclosed group"),
        ("attribute:a =~ '(?=a)b'", 15, "look-around"),
        (r"attribute:a =~ '(a)\1'", 15, "backreferences"),
        ("attribute:a =~ 'a{1000}{1000}'", 15, "cannot be used"),
        ("agentConnected > true", 15, "does not take the operator '>'"),
        ("agentConnected exists", 15, "does not take"),
        ("agentConnected == yes", 18, "true or false"),
        ("agentVersion =~ 1.*", 13, "does not take"),
        ("agentVersion == new", 16, "a version such as"),
        ("ec2InstanceId < i-1", 14, "does not take"),
        ("registeredAt in [2018-01-01]", 13, "does not take"),
        ("registeredAt < 2018-02-30", 15, "a date such as"),
        ("runningTasksCount == many", 21, "a whole number"),
        ("task:group > a", 11, "does not take"),
    ] {
        let error = parse(text).expect_err(text);
        assert_eq!(error.start, start, "{text}: {error}");
        assert!(error.problem.contains(problem), "{text}: {error}");
        assert!(error.start <= error.end && error.end <= text.len(), "{text}: {error:?}");
    }
}

#[test]
fn size_and_depth_are_bounded() {
    let long = format!("attribute:a == {}", "b".repeat(MAX_CHARS));
    assert!(parse(&long).expect_err("too long").problem.contains("2000"));
    for nested in ["(", "!", "not "] {
        let deep = nested.repeat(MAX_CHARS / nested.len());
        assert!(parse(&deep).expect_err("too deep").problem.contains("32"), "{nested}");
    }
    let wide = vec!["task:group exists"; 80].join(" || ");
    assert!(parse(&wide).expect("wide is fine").selects(&told()));
}

#[test]
fn what_an_answer_depends_on_is_known() {
    for (text, general) in [
        ("attribute:a == b and agentVersion > 1.0 or agentConnected == true", true),
        ("attribute:own == b", false),
        ("attribute:a == b and not runningTasksCount > 1", false),
        ("task:group == a", false),
    ] {
        assert_eq!(parse(text).expect("sound").is_general(&["own"]), general, "{text}");
    }
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9.:/-]{1,8}", "[ -&(-~]{0,8}", "[ -!#-~]{0,8}"]
}

fn subject() -> impl Strategy<Value = Subject> {
    prop_oneof![
        Just(Subject::TaskGroup),
        Just(Subject::Ec2InstanceId),
        prop_oneof!["rack", "flag", "row", "[a-z][a-z./_-]{0,6}"].prop_map(Subject::Attribute),
    ]
}

fn term() -> impl Strategy<Value = Node> {
    let literal = value().prop_map(|text| Literal { text, meaning: Meaning::Text });
    let literal = prop_oneof![
        3 => literal,
        1 => prop_oneof![Just("12"), Just("database"), Just("i-abcd1234"), Just("")]
            .prop_map(|text| Literal { text: text.to_owned(), meaning: Meaning::Text }),
    ];
    let comparison = (subject(), any::<bool>(), literal.clone(), 0..2_u8).prop_map(
        |(subject, negated, literal, kind)| {
            let test = match kind {
                0 => Test::In(vec![literal.clone(), literal]),
                _ => Test::Equals(literal),
            };
            Node::Term(Term { subject, negated, test })
        },
    );
    let count = (0..4_i64, 0..4_u8).prop_map(|(number, order)| {
        let literal = Literal { text: number.to_string(), meaning: Meaning::Number(number) };
        let test = match order {
            0 => Test::Ordered(Order::Less, literal),
            1 => Test::Ordered(Order::GreaterOrEqual, literal),
            _ => Test::Equals(literal),
        };
        Node::Term(Term { subject: Subject::RunningTasksCount, negated: false, test })
    });
    let there = (any::<bool>(), prop_oneof!["rack", "row"]).prop_map(|(negated, name)| {
        Node::Term(Term { subject: Subject::Attribute(name), negated, test: Test::Exists })
    });
    prop_oneof![3 => comparison, 1 => count, 1 => there]
}

fn node() -> impl Strategy<Value = Node> {
    term().prop_recursive(4, 12, 3, |inner| {
        let several = proptest::collection::vec(inner.clone(), 2..4);
        prop_oneof![
            inner.prop_map(|inner| Node::Not(Box::new(inner))),
            several.clone().prop_map(Node::All),
            several.prop_map(Node::Any),
        ]
    })
}

/// The meaning of a node, said once more and as plainly as can be.
fn naive(node: &Node, told: &Told) -> bool {
    match node {
        Node::Not(inner) => !naive(inner, told),
        Node::All(parts) => !parts.iter().any(|part| !naive(part, told)),
        Node::Any(parts) => parts.iter().filter(|part| naive(part, told)).count() > 0,
        Node::Term(term) => {
            let values: Vec<String> = match &term.subject {
                Subject::TaskGroup => told.groups.iter().map(ToString::to_string).collect(),
                Subject::Ec2InstanceId => told.ec2.iter().map(ToString::to_string).collect(),
                Subject::Attribute(name) => {
                    told.attributes.get(name.as_str()).iter().map(ToString::to_string).collect()
                }
                Subject::RunningTasksCount => vec![told.running.to_string()],
                Subject::AgentConnected | Subject::AgentVersion | Subject::RegisteredAt => {
                    unreachable!("not generated")
                }
            };
            let number = |text: &str| text.parse::<i64>().expect("a number");
            let some = match &term.test {
                Test::Exists => !values.is_empty(),
                Test::Equals(literal) => values.contains(&literal.text),
                Test::In(literals) => literals.iter().any(|it| values.contains(&it.text)),
                Test::Ordered(Order::Less, it) => number(&values[0]) < number(&it.text),
                Test::Ordered(_, it) => number(&values[0]) >= number(&it.text),
                Test::Matches(_) => unreachable!("not generated"),
            };
            some ^ term.negated
        }
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(node in node()) {
        let expression = Expression(node);
        let text = expression.to_string();
        let again = parse(&text);
        prop_assert!(again.is_ok(), "{text}: {again:?}");
        // Nested lists of the same kind may be flattened or not; the print tells.
        let again = again.expect("just checked");
        prop_assert_eq!(again.to_string(), text);
        prop_assert_eq!(again.selects(&told()), expression.selects(&told()));
    }

    #[test]
    fn the_meaning_is_the_plain_one(node in node(), running in 0..4_u32) {
        let told = Told { running, ..told() };
        prop_assert_eq!(Expression(node.clone()).selects(&told), naive(&node, &told));
    }
}
