//! The direction of dependencies between the crates of the workspace, which the architecture promises.

use std::process::Command;

/// What a crate depends on, of whatever depth, tests apart.
fn dependencies(package: &str) -> Vec<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--offline", "--edges", "normal,build", "--prefix", "none", "--format", "{p}", "--package", package])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names are UTF-8");
    // The first line is the package itself.
    text.lines().skip(1).filter_map(|line| line.split_whitespace().next().map(str::to_string)).collect()
}

#[test]
fn arrows_point_one_way() {
    let of = |package| dependencies(package);
    let (ir, compiler, runtime) = (of("stagefuse-ir"), of("stagefuse-compiler"), of("stagefuse-runtime"));
    for (package, dependencies) in [("stagefuse-ir", &ir), ("stagefuse-compiler", &compiler), ("stagefuse-runtime", &runtime)] {
        let stranger = dependencies.iter().find(|name| name.starts_with("datafusion") || *name == "stagefuse");
        assert_eq!(stranger, None, "{package} knows DataFusion or the front");
    }
    let has = |dependencies: &[String], name: &str| dependencies.iter().any(|other| other == name);
    assert!(!ir.iter().any(|name| name.starts_with("stagefuse")), "ir knows {ir:?}");
    assert!(has(&compiler, "stagefuse-ir") && !has(&compiler, "stagefuse-runtime"), "compiler and runtime meet in ir only");
    assert!(has(&runtime, "stagefuse-ir") && !has(&runtime, "stagefuse-compiler"), "compiler and runtime meet in ir only");
    assert!(!has(&ir, "arrow") && !has(&compiler, "arrow"), "only the runtime knows Arrow");
    let front = of("stagefuse");
    assert!(["stagefuse-ir", "stagefuse-compiler", "stagefuse-runtime", "datafusion"].iter().all(|name| has(&front, name)));
}
