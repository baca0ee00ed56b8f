//! The TXT record beside a fleet's name, which anybody may have written.
#![no_main]

use switchyard::dns::read_marker;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some(marker) = read_marker(data) else { return };
    assert_eq!(marker.text.as_bytes(), data, "a write names it exactly as it was read");
    assert!(marker.text.starts_with(&format!("v=1;owner={};fleet=", marker.owner)), "{marker:?}");
});
