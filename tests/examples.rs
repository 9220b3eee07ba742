//! Every program of `examples/` runs and finds what it expects: each checks its own results.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where cargo puts examples; `cargo test` builds them, `cargo test --test examples` alone does not.
fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST").join("examples");
    folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

fn build() {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--examples", "--manifest-path"]).arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    assert!(cargo.status().expect("cargo starts").success());
}

#[test]
fn examples_run() {
    let sources = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")).expect("there are examples");
    let mut names: Vec<String> = sources
        .map(|file| file.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|path| path.file_stem()?.to_str().map(str::to_owned))
        .collect();
    names.sort();
    assert_eq!(names, ["benchmark", "datafusion_rule", "dump", "own_function", "session"], "the README lists all examples");
    if names.iter().any(|name| !binary(name).exists()) {
        build();
    }
    for name in names {
        let output = Command::new(binary(&name)).output().unwrap_or_else(|error| panic!("{name}: {error}"));
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && !out.is_empty(), "{name}: {}\n{out}\n{err}", output.status);
    }
}
