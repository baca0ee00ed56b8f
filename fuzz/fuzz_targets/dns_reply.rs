//! An answer of a DNS server to the question for a fleet's name.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // Whoever forges an answer knows the id, or nothing is read at all.
    let Some((id, _)) = data.split_first_chunk() else { return };
    let _ = switchyard::dns::read_answer("runner.company.test.", u16::from_be_bytes(*id), data);
});
