//! What a person has at hand, for tests that do what one does: a folder, the binary, a browser.
#![allow(dead_code, reason = "no test uses all of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder of one test, deleted behind it.
pub struct Folder(pub PathBuf);

impl Folder {
    /// Names need to differ within one file of tests.
    pub fn new(test: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("stagefuse-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("the folder for temporary files takes a folder");
        Folder(path)
    }

    /// Writes a file.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).expect("the folder takes a file");
        path
    }

    /// The path of a file, whether it is there or not.
    pub fn path(&self, name: &str) -> String {
        path(&self.0.join(name)).to_owned()
    }

    /// What a file holds.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A path as an argument.
pub fn path(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

/// What a program printed.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs the binary.
pub fn stagefuse(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stagefuse")).env_remove("RUST_BACKTRACE").args(arguments).output().expect("the binary starts")
}

/// Runs, expects success, and returns what was printed.
pub fn printed(arguments: &[&str]) -> String {
    let output = stagefuse(arguments);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{arguments:?}\n{out}\n{err}");
    out
}

/// Runs, and expects exactly one line on stderr that starts with `error: ` and holds `part`, and exit code 1.
pub fn fails(arguments: &[&str], part: &str) {
    let output = stagefuse(arguments);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {err}");
    assert_eq!(err.trim_end().lines().count(), 1, "{arguments:?}: {err}");
    assert!(err.starts_with("error: ") && !err.contains("panicked"), "{arguments:?}: {err}");
    assert!(err.to_lowercase().contains(&part.to_lowercase()), "{arguments:?}: {err} holds no `{part}`");
}

/// A browser: `chromium` on the path, or what `STAGEFUSE_CHROMIUM` names. Without one it says that something is skipped.
pub fn browser() -> Option<PathBuf> {
    let browser = std::env::var_os("STAGEFUSE_CHROMIUM").map_or_else(|| PathBuf::from("chromium"), PathBuf::from);
    if Command::new(&browser).arg("--version").output().is_err() {
        println!("skipped: there is no {} (STAGEFUSE_CHROMIUM names another)", browser.display());
        return None;
    }
    Some(browser)
}

/// Visits a page of a folder, and returns what its script has found: a line each, in an element `found`. None may be wrong, and nothing may be said to the console.
pub fn visit(browser: &Path, folder: &Folder, page: &str, width: u32, dark: bool) -> String {
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0", "--dump-dom", "--hide-scrollbars"])
        .args([format!("--window-size={width},1000"), "--virtual-time-budget=5000".into()])
        .arg(format!("--blink-settings=preferredColorScheme={}", if dark { 0 } else { 1 }))
        .arg(format!("--user-data-dir={}", folder.path("profile")))
        .arg(format!("file://{}", folder.path(page)))
        .output()
        .expect("the browser starts");
    let (dom, log) = (text(&output.stdout), text(&output.stderr));
    let found = dom.split("<pre id=\"found\">").nth(1).and_then(|rest| rest.split("</pre>").next());
    let found = found.unwrap_or_else(|| panic!("{page} at {width}: it did not get through\n{log}"));
    assert!(found.lines().count() > 10 && !found.contains("WRONG"), "{page} at {width}:\n{found}");
    let console: Vec<&str> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(console.is_empty(), "{page}: {console:?}");
    found.to_owned()
}
