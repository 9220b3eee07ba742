//! The settings: `SET stagefuse.mode = 'interpreted'`, `SHOW stagefuse.mode`.

use std::any::Any;
use std::fmt::{self, Display};

use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::common::{DataFusionError, Result};
use stagefuse_ir::abi::{HASH_ALL, HASH_COLLIDING};

/// Declares a setting that is one of a few words.
macro_rules! choice {
    ($(#[$enum_doc:meta])* $enum:ident, $setting:literal { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$enum_doc])*
        #[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
        pub enum $enum { $($(#[$doc])* $variant,)* }

        impl $enum {
            /// Every choice.
            pub const ALL: &'static [$enum] = &[$($enum::$variant,)*];

            /// The word that `SET` takes.
            pub const fn name(self) -> &'static str {
                match self { $($enum::$variant => $word,)* }
            }
        }

        impl Display for $enum {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl std::str::FromStr for $enum {
            type Err = DataFusionError;

            fn from_str(word: &str) -> Result<Self> {
                let known = Self::ALL.iter().find(|choice| choice.name().eq_ignore_ascii_case(word.trim()));
                known.copied().ok_or_else(|| {
                    let words: Vec<_> = Self::ALL.iter().map(|choice| format!("'{choice}'")).collect();
                    wrong_value($setting, word, &format!("one of {}", words.join(", ")))
                })
            }
        }

        impl $enum {
            fn set(&mut self, _: &str, value: &str) -> Result<()> {
                *self = value.parse()?;
                Ok(())
            }
        }
    };
}

choice! {
    /// How stages run: `stagefuse.mode`.
    Mode, "stagefuse.mode" {
        /// Compiled, unless a stage's input is known to be tiny (fewer than [`TINY_INPUT_ROWS`] rows).
        Auto = "auto",
        /// Compiled, wherever that is possible.
        Compiled = "compiled",
        /// By the vectorised interpreter of the same IR.
        Interpreted = "interpreted",
        /// Not at all: DataFusion runs the query alone.
        Off = "off",
    }
}

choice! {
    /// How hard the code generator tries: `stagefuse.opt_level`.
    OptLevel, "stagefuse.opt_level" {
        /// Compiles in half the time, runs 1.3 to 1.7 times slower.
        None = "none",
        /// Optimises.
        Speed = "speed",
    }
}

choice! {
    /// Names of generated code for Linux's `perf`: `stagefuse.perf`.
    Perf, "stagefuse.perf" {
        /// None.
        Off = "off",
        /// `/tmp/perf-PID.map`: names for `perf report`.
        Map = "map",
        /// `jit-PID.dump` in the working directory: names and code, for `perf inject --jit`.
        Jitdump = "jitdump",
    }
}

/// In mode `auto` a stage whose input is known to have fewer rows is interpreted: compiling it would take longer than running it.
pub const TINY_INPUT_ROWS: usize = 4096;

/// A whole number of at least one.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Count(usize);

impl Count {
    /// The number.
    pub const fn get(self) -> usize {
        self.0
    }
}

impl Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Count {
    fn set(&mut self, setting: &str, value: &str) -> Result<()> {
        match value.trim().parse() {
            Ok(number) if number > 0 => {
                self.0 = number;
                Ok(())
            }
            _ => Err(wrong_value(setting, value, "a whole number of at least 1")),
        }
    }
}

/// A whole number.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Number(usize);

impl Number {
    /// The number.
    pub const fn get(self) -> usize {
        self.0
    }
}

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Number {
    fn set(&mut self, setting: &str, value: &str) -> Result<()> {
        self.0 = value.trim().parse().map_err(|_| wrong_value(setting, value, "a whole number"))?;
        Ok(())
    }
}

/// A boolean whose error names what is allowed.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Switch(bool);

impl Switch {
    /// Whether it is on.
    pub const fn get(self) -> bool {
        self.0
    }
}

impl Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Switch {
    fn set(&mut self, setting: &str, value: &str) -> Result<()> {
        self.0 = match value.trim().to_ascii_lowercase().as_str() {
            "true" => true,
            "false" => false,
            _ => return Err(wrong_value(setting, value, "true or false")),
        };
        Ok(())
    }
}

fn wrong_value(setting: &str, value: &str, allowed: &str) -> DataFusionError {
    DataFusionError::Configuration(format!("'{value}' is not a value of {setting}; it takes {allowed}"))
}

/// Declares the settings. DataFusion's own macro lists them without their prefix, so that `SHOW stagefuse.mode` would not find them.
macro_rules! settings {
    ($(#[$struct_doc:meta])* $name:ident { $(#[doc = $doc:literal] $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$struct_doc])*
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub struct $name { $(#[doc = $doc] pub $field: $type,)* }

        impl Default for $name {
            fn default() -> Self {
                $name { $($field: $default,)* }
            }
        }

        impl ExtensionOptions for $name {
            fn as_any(&self) -> &dyn Any {
                self
            }

            fn as_any_mut(&mut self) -> &mut dyn Any {
                self
            }

            fn cloned(&self) -> Box<dyn ExtensionOptions> {
                Box::new(self.clone())
            }

            fn set(&mut self, key: &str, value: &str) -> Result<()> {
                match key {
                    $(stringify!($field) => self.$field.set(concat!("stagefuse.", stringify!($field)), value),)*
                    _ => {
                        let known = [$(stringify!($field),)*].join(", ");
                        Err(DataFusionError::Configuration(format!("stagefuse.{key} is no setting; there are {known}")))
                    }
                }
            }

            fn entries(&self) -> Vec<ConfigEntry> {
                vec![$(ConfigEntry {
                    key: concat!("stagefuse.", stringify!($field)).to_string(),
                    value: Some(self.$field.to_string()),
                    description: $doc.trim_ascii(),
                },)*]
            }
        }
    };
}

settings! {
    /// Settings of Stagefuse; prefix `stagefuse`.
    ///
    /// ```
    /// use datafusion::prelude::SessionConfig;
    /// use stagefuse::{Mode, StagefuseConfig};
    ///
    /// let mut config = SessionConfig::new().with_option_extension(StagefuseConfig::default());
    /// config.options_mut().set("stagefuse.mode", "interpreted").expect("it is one of the modes");
    /// assert_eq!(StagefuseConfig::of(config.options()).mode, Mode::Interpreted);
    /// assert!(config.options_mut().set("stagefuse.mode", "fast").expect_err("is none").to_string().contains("'compiled'"));
    /// ```
    StagefuseConfig {
        /// How stages run: 'auto' (compiled, unless the input is known to be tiny), 'compiled', 'interpreted' or 'off'.
        mode: Mode = Mode::Auto,
        /// A stage with more fields than this in its input or output is interpreted.
        max_fields: Count = Count(200),
        /// A stage with more bytes of machine code than this is split into a function per operator, then interpreted.
        max_code_bytes: Count = Count(65536),
        /// Whether a large stage becomes one function per operator before compilation is given up.
        split_by_operator: Switch = Switch(true),
        /// Whether a stage that cannot be compiled is interpreted; if false it is an error with the reason.
        fallback: Switch = Switch(true),
        /// Whether code that was compiled for the same program before is used again.
        code_cache: Switch = Switch(true),
        /// Whether the interpreter begins a query while its stages are compiled, which then go on native. In mode 'auto' only.
        compile_ahead: Switch = Switch(true),
        /// How many statements over cached tables keep their plan for when the same text comes again; 0 for none. Of a `Session` only.
        plan_cache: Number = Number(256),
        /// Whether inner and semi joins are put in the order that samples and statistics of the tables suggest.
        reorder_joins: Switch = Switch(true),
        /// Whether dumps carry the operator and expression that each part comes from.
        comments: Switch = Switch(true),
        /// Longest dump, in lines, in a log or an EXPLAIN.
        dump_max_lines: Count = Count(1000),
        /// How hard the code generator tries: 'none' or 'speed'.
        opt_level: OptLevel = OptLevel::Speed,
        /// Names of generated code for Linux's perf: 'off', 'map' (/tmp/perf-PID.map) or 'jitdump' (jit-PID.dump in the working directory).
        perf: Perf = Perf::Off,
        /// For measuring what metrics cost: if false, stages count neither rows nor time.
        test_metrics: Switch = Switch(true),
        /// For tests of Stagefuse: if not 0, morsels have at most this many rows, tables start tiny, and native code and the interpreter take turns.
        test_paths: Number = Number(0),
        /// For tests of Stagefuse: whether there are but four different hashes, so that most keys collide.
        test_collisions: Switch = Switch(false),
    }
}

impl ConfigExtension for StagefuseConfig {
    const PREFIX: &'static str = "stagefuse";
}

impl StagefuseConfig {
    /// The bits of hashes that count, for native code and for runs.
    pub(crate) fn hash_mask(&self) -> u64 {
        if self.test_collisions.get() { HASH_COLLIDING } else { HASH_ALL }
    }

    /// The settings in force; the defaults where the session has none.
    pub fn of(options: &ConfigOptions) -> StagefuseConfig {
        options.extensions.get::<StagefuseConfig>().cloned().unwrap_or_default()
    }

    /// Whether every stage must be compiled.
    pub(crate) fn strict(&self) -> bool {
        !self.fallback.get() && matches!(self.mode, Mode::Compiled | Mode::Auto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> ConfigOptions {
        let mut options = ConfigOptions::new();
        options.extensions.insert(StagefuseConfig::default());
        options
    }

    #[test]
    fn settings_are_set_by_name() {
        let mut options = options();
        for (key, value) in [("mode", "Interpreted"), ("max_fields", "50"), ("fallback", "false"), ("opt_level", "none")] {
            options.set(&format!("stagefuse.{key}"), value).unwrap();
        }
        let config = StagefuseConfig::of(&options);
        assert_eq!(config.mode, Mode::Interpreted);
        assert_eq!(config.max_fields.get(), 50);
        assert!(!config.fallback.get());
        assert_eq!(config.opt_level, OptLevel::None);
    }

    #[test]
    fn a_wrong_value_names_the_allowed_ones() {
        let mut options = options();
        let message = |options: &mut ConfigOptions, key: &str, value: &str| options.set(key, value).unwrap_err().to_string();
        let text = message(&mut options, "stagefuse.mode", "x");
        assert!(text.contains("'auto', 'compiled', 'interpreted', 'off'"), "{text}");
        let text = message(&mut options, "stagefuse.max_fields", "0");
        assert!(text.contains("at least 1"), "{text}");
        let text = message(&mut options, "stagefuse.fallback", "maybe");
        assert!(text.contains("true or false"), "{text}");
        let text = message(&mut options, "stagefuse.no_such", "1");
        assert!(text.contains("no_such"), "{text}");
        assert_eq!(StagefuseConfig::of(&options).mode, Mode::Auto);
    }
}
