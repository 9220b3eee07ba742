//! Tells the benchmark's report which compiler made the binary.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(compiler).arg("--version").output().ok().filter(|output| output.status.success());
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=STAGEFUSE_RUSTC={version}");
    println!("cargo::rustc-env=STAGEFUSE_TARGET={}", std::env::var("TARGET").unwrap_or_default());
}
