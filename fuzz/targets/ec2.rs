//! The EC2 query protocol.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::forms(data));

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let kept = include_str!("../../crates/sim/tests/corpus/ec2.txt");
    fuzz::change(fuzz::Kind::Form, kept, &mut data[..max_size], size, seed)
});
