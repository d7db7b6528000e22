//! What the library has no way to do.

/// I6: no block reaches an engine in production, since there is none in reach.
#[test]
fn the_library_calls_no_datalog_engine() {
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    let mut read = 0;
    for entry in std::fs::read_dir(sources).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        for engine in ["Authorizer", "authorizer", "biscuit_auth::datalog::World"] {
            assert!(!source.contains(engine), "{} uses {engine}", path.display());
        }
        read += 1;
    }
    assert!(read > 20);
}
