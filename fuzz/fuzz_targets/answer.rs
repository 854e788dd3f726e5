#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sonde::probe::fuzzing::answer(input));
