//! What a measurement was made on: enough to repeat it.

/// Names and values in a group, such as the machine's.
pub struct Facts {
    pub title: &'static str,
    pub facts: Vec<(String, String)>,
}

/// The processor.
pub fn processor() -> String {
    let read = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = read.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    field("model name").unwrap_or_else(|| format!("{} (model unknown)", std::env::consts::ARCH))
}

/// Whether the binary is worth measuring.
pub fn build() -> &'static str {
    if cfg!(debug_assertions) { "debug" } else { "release" }
}

/// Processors that the process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// How many processes wanted to run in the last minute.
#[cfg(unix)]
pub fn load() -> Option<f64> {
    let mut averages = [0.0_f64; 3];
    // SAFETY: the pointer is to a live local array of as many numbers as the call is told.
    let known = unsafe { libc::getloadavg(averages.as_mut_ptr(), 3) };
    (known > 0).then_some(averages[0])
}

/// The system does not tell.
#[cfg(not(unix))]
pub fn load() -> Option<f64> {
    None
}

/// Processor, memory, operating system, and the load of before.
pub fn machine(load: Option<f64>) -> Facts {
    let unknown = || "unknown".to_owned();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).map(|name| name.trim_matches('"').to_owned());
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").map(|kernel| format!(", kernel {}", kernel.trim()));
    let name = name.unwrap_or_else(|| std::env::consts::OS.to_owned());
    Facts {
        title: "Machine",
        facts: vec![
            ("Processor".to_owned(), processor()),
            ("Cores".to_owned(), cores().to_string()),
            ("Memory".to_owned(), memory.map_or_else(unknown, |kilobytes| format!("{:.1} GiB", kilobytes as f64 / f64::from(1 << 20)))),
            ("System".to_owned(), format!("{name}{}", kernel.unwrap_or_default())),
            ("Load when it began".to_owned(), load.map_or_else(unknown, |load| format!("{load:.2}"))),
        ],
    }
}

/// Of Stagefuse, DataFusion, and what made them.
pub fn versions() -> Facts {
    let fact = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Facts {
        title: "Versions",
        facts: vec![
            fact("Stagefuse", env!("CARGO_PKG_VERSION")),
            fact("DataFusion", datafusion::DATAFUSION_VERSION),
            fact("Compiler", env!("STAGEFUSE_RUSTC")),
            fact("Build", &format!("{}, {}", build(), env!("STAGEFUSE_TARGET"))),
        ],
    }
}

/// The command that this process was started with, as a shell takes it.
pub fn command() -> String {
    let words = std::env::args().enumerate().map(|(at, word)| {
        let word = if at == 0 { "stagefuse".to_owned() } else { word };
        let plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_=./,:+@%".contains(c));
        if plain { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
    });
    words.collect::<Vec<_>>().join(" ")
}
