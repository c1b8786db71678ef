//! AWS JSON 1.1: requests to ECS.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::json(data));

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let kept = include_str!("../../crates/sim/tests/corpus/json.txt");
    fuzz::change(fuzz::Kind::Json, kept, &mut data[..max_size], size, seed)
});
