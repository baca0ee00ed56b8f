//! Prometheus' answer to an instant query, with a good and a bad status.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for status in [200, 422, 503] {
        match switchyard::prometheus::read_vector(status, data) {
            Ok(vector) => drop(format!("{vector:?}")),
            Err(error) => drop(format!("{error} {}", error.is_transient())),
        }
    }
});
