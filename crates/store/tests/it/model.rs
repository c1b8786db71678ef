//! Random histories against a model.

use proptest::prelude::*;
use store::conformance::{Harness, Lamp, MemoryMedium, Mode, Op, check_model};

fn text() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "a", "b", "c", "ab"]).prop_map(str::to_owned)
}

fn changes() -> impl Strategy<Value = Vec<Result<Lamp, (u8, String)>>> {
    let lamp = (0..3_u8, text(), text(), prop::collection::vec(text(), 0..3), 0..3_u64).prop_map(
        |(scope, id, room, labels, watts)| Lamp {
            scope: Lamp::scope_of(scope),
            id,
            room,
            labels,
            watts,
        },
    );
    let change = prop_oneof![3 => lamp.prop_map(Ok), 1 => (0..3_u8, text()).prop_map(Err)];
    prop::collection::vec(change, 0..6)
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => changes().prop_map(Op::Commit),
        1 => changes().prop_map(Op::Abort),
        1 => changes().prop_map(Op::Fail),
        1 => Just(Op::Reopen),
    ];
    prop::collection::vec(op, 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..Default::default() })]

    #[test]
    fn inline(ops in ops()) {
        check_model(&Harness::new(Mode::Inline, MemoryMedium::default()), &ops);
    }

    #[test]
    fn grouped(ops in ops()) {
        check_model(&Harness::new(Mode::Grouped, MemoryMedium::default()), &ops);
    }
}
