//! The table of ClickBench, `hits`: its 105 columns with made-up values, as skewed and repetitive as a web site's log.
//!
//! The schema is that of ClickBench's `create.sql` for DataFusion, `EventDate` a date as its queries take it to be. The real table has 100
//! million rows; scale 1 is a hundredth of that.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Int16Array, Int32Array, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::{BATCH_ROWS, Part};

/// Rows at scale 1.
const ROWS: f64 = 1_000_000.0;

/// 2013-07-01 as days and as seconds; the log goes on for a month.
const FIRST_DAY: u64 = 15_887;
const DAY: u64 = 86_400;

/// What a column holds. A `u64` is the number of distinct values; the first ones are the most frequent.
#[derive(Clone, Copy)]
enum Of {
    /// 1 in so many percent of the rows, or else 0.
    Flag(u64),
    Small(u64),
    Int(u64),
    Big(u64),
    /// Integers of which one is in 4 percent of the rows: a query asks for it.
    Counter(i32),
    Known(i64),
    Time,
    Date,
    Url,
    Words,
    /// Words in so many percent of the rows, or else nothing.
    Seldom(u64),
    Code(u64),
}

use Of::{Big, Code, Counter, Date, Flag, Int, Known, Seldom, Small, Time, Url, Words};

#[rustfmt::skip]
const COLUMNS: [(&str, Of); 105] = [
    ("WatchID", Big(u64::MAX)), ("JavaEnable", Flag(70)), ("Title", Words), ("GoodEvent", Flag(100)), ("EventTime", Time),
    ("EventDate", Date), ("CounterID", Counter(62)), ("ClientIP", Int(200_000)), ("RegionID", Int(5_000)),
    ("UserID", Known(435_090_932_899_640_449)), ("CounterClass", Small(3)), ("OS", Small(90)), ("UserAgent", Small(80)), ("URL", Url),
    ("Referer", Url), ("IsRefresh", Flag(12)), ("RefererCategoryID", Small(300)), ("RefererRegionID", Int(4_000)),
    ("URLCategoryID", Small(300)), ("URLRegionID", Int(4_000)), ("ResolutionWidth", Small(2_000)), ("ResolutionHeight", Small(1_500)),
    ("ResolutionDepth", Small(33)), ("FlashMajor", Small(12)), ("FlashMinor", Small(9)), ("FlashMinor2", Code(200)), ("NetMajor", Small(5)),
    ("NetMinor", Small(5)), ("UserAgentMajor", Small(60)), ("UserAgentMinor", Code(40)), ("CookieEnable", Flag(99)),
    ("JavascriptEnable", Flag(98)), ("IsMobile", Flag(6)), ("MobilePhone", Small(80)), ("MobilePhoneModel", Seldom(6)), ("Params", Seldom(1)),
    ("IPNetworkID", Int(10_000)), ("TraficSourceID", Small(9)), ("SearchEngineID", Small(40)), ("SearchPhrase", Seldom(13)),
    ("AdvEngineID", Small(4)), ("IsArtifical", Flag(1)), ("WindowClientWidth", Small(2_500)), ("WindowClientHeight", Small(1_500)),
    ("ClientTimeZone", Small(24)), ("ClientEventTime", Time), ("SilverlightVersion1", Small(6)), ("SilverlightVersion2", Small(2)),
    ("SilverlightVersion3", Int(60_000)), ("SilverlightVersion4", Small(1)), ("PageCharset", Code(12)), ("CodeVersion", Int(700)),
    ("IsLink", Flag(3)), ("IsDownload", Flag(1)), ("IsNotBounce", Flag(2)), ("FUniqID", Big(300_000)), ("OriginalURL", Url),
    ("HID", Int(4_000_000)), ("IsOldCounter", Flag(1)), ("IsEvent", Flag(1)), ("IsParameter", Flag(1)), ("DontCountHits", Flag(20)),
    ("WithHash", Flag(30)), ("HitColor", Code(5)), ("LocalEventTime", Time), ("Age", Small(60)), ("Sex", Small(3)), ("Income", Small(5)),
    ("Interests", Small(30_000)), ("Robotness", Small(8)), ("RemoteIP", Int(200_000)), ("WindowName", Int(10_000)), ("OpenerName", Int(900)),
    ("HistoryLength", Small(100)), ("BrowserLanguage", Code(30)), ("BrowserCountry", Code(70)), ("SocialNetwork", Seldom(1)),
    ("SocialAction", Seldom(1)), ("HTTPError", Small(2)), ("SendTiming", Int(30_000)), ("DNSTiming", Int(2_000)), ("ConnectTiming", Int(2_000)),
    ("ResponseStartTiming", Int(9_000)), ("ResponseEndTiming", Int(9_000)), ("FetchTiming", Int(9_000)), ("SocialSourceNetworkID", Small(8)),
    ("SocialSourcePage", Seldom(1)), ("ParamPrice", Big(50)), ("ParamOrderID", Seldom(1)), ("ParamCurrency", Code(6)),
    ("ParamCurrencyID", Small(6)), ("OpenstatServiceName", Seldom(2)), ("OpenstatCampaignID", Seldom(2)), ("OpenstatAdID", Seldom(2)),
    ("OpenstatSourceID", Seldom(2)), ("UTMSource", Seldom(3)), ("UTMMedium", Seldom(3)), ("UTMCampaign", Seldom(3)), ("UTMContent", Seldom(2)),
    ("UTMTerm", Seldom(2)), ("FromTag", Seldom(1)), ("HasGCLID", Flag(1)), ("RefererHash", Known(3_594_120_000_172_545_465)),
    ("URLHash", Known(2_868_770_270_353_813_622)), ("CLID", Int(9_000)),
];

const WORDS: [&str; 24] = [
    "карта",
    "погода",
    "weather",
    "google",
    "Google",
    "new",
    "used cars",
    "москва",
    "hotel",
    "cheap",
    "photo",
    "film",
    "free",
    "online",
    "2013",
    "forum",
    "рецепты",
    "игры",
    "music",
    "review",
    "shop",
    "phone",
    "wallpaper",
    "maps",
];
const DOMAINS: [&str; 16] = [
    "irr.example",
    "auto.example",
    "www.news.example",
    "yandex.example",
    "www.google.example",
    "mail.example",
    "bonprix.example",
    "www.kino.example",
    "holodilnik.example",
    "mirtesen.example",
    "slando.example",
    "images.google.example",
    "pogoda.example",
    "www.wildberries.example",
    "avtoradio.example",
    "state.example",
];

impl Of {
    fn data_type(self) -> DataType {
        match self {
            Flag(_) | Small(_) => DataType::Int16,
            Int(_) | Counter(_) => DataType::Int32,
            Big(_) | Known(_) | Time => DataType::Int64,
            Date => DataType::Date32,
            Url | Words | Seldom(_) | Code(_) => DataType::Utf8View,
        }
    }

    /// The values of rows.
    fn column(self, random: impl Iterator<Item = Random>) -> ArrayRef {
        match self {
            Flag(percent) => Arc::new(random.map(|mut r| i16::from(r.below(100) < percent)).collect::<Int16Array>()),
            Small(n) => Arc::new(random.map(|mut r| r.skewed(n) as i16).collect::<Int16Array>()),
            Int(n) => Arc::new(random.map(|mut r| (spread(r.skewed(n)) as i32) >> 1).collect::<Int32Array>()),
            Big(n) => Arc::new(random.map(|mut r| (spread(r.skewed(n)) >> 1) as i64).collect::<Int64Array>()),
            Counter(known) => {
                Arc::new(random.map(|mut r| if r.below(100) < 4 { known } else { r.skewed(6_000) as i32 }).collect::<Int32Array>())
            }
            Known(known) => Arc::new(
                random
                    .map(|mut r| if r.below(1_000) < 2 { known } else { (spread(r.skewed(150_000)) >> 1) as i64 })
                    .collect::<Int64Array>(),
            ),
            Time => Arc::new(random.map(|mut r| r.time() as i64).collect::<Int64Array>()),
            Date => Arc::new(Date32Array::from_iter_values(random.map(|mut r| (r.time() / DAY) as i32))),
            Url => Arc::new(random.map(|mut r| Some(r.url())).collect::<StringViewArray>()),
            Words => Arc::new(random.map(|mut r| Some(r.words())).collect::<StringViewArray>()),
            Seldom(percent) => Arc::new(
                random.map(|mut r| Some(if r.below(100) < percent { r.words() } else { String::new() })).collect::<StringViewArray>(),
            ),
            Code(n) => Arc::new(random.map(|mut r| Some(format!("{:02x}", r.skewed(n)))).collect::<StringViewArray>()),
        }
    }
}

/// The names of the tables.
pub const TABLES: [&str; 1] = ["hits"];

/// A part of a table. `None`: there is no such table.
pub fn part(name: &str, scale: f64, index: i32, of: i32) -> Option<Part> {
    if !TABLES.contains(&name) {
        return None;
    }
    let schema: SchemaRef = Arc::new(Schema::new(COLUMNS.map(|(name, of)| Field::new(name, of.data_type(), false)).to_vec()));
    let rows = (ROWS * scale) as u64;
    let bound = |index: i32| rows * index as u64 / of.max(1) as u64;
    let (first, end) = (bound(index - 1), bound(index));
    let of_schema = Arc::clone(&schema);
    let batches = (first..end).step_by(BATCH_ROWS).map(move |start| {
        let rows = start..end.min(start + BATCH_ROWS as u64);
        let columns = COLUMNS.iter().enumerate().map(|(number, (_, of))| {
            // The date is that of the time.
            let number = if matches!(of, Date) { 4 } else { number as u64 };
            of.column(rows.clone().map(|row| Random(spread(row * 128 + number))))
        });
        RecordBatch::try_new(Arc::clone(&of_schema), columns.collect())
    });
    Some(Part { schema, batches: Box::new(batches) })
}

/// splitmix64, seeded by row and column.
struct Random(u64);

fn spread(of: u64) -> u64 {
    let z = of.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        spread(self.0)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Below `n`, small numbers much more often than large ones.
    fn skewed(&mut self, n: u64) -> u64 {
        if n == u64::MAX {
            return self.next();
        }
        let unit = self.next() as f64 / u64::MAX as f64;
        (unit * unit * unit * unit * n as f64) as u64
    }

    fn time(&mut self) -> u64 {
        FIRST_DAY * DAY + self.below(31 * DAY)
    }

    fn words(&mut self) -> String {
        let count = 1 + self.skewed(5);
        let words = (0..count).map(|_| WORDS[self.skewed(WORDS.len() as u64) as usize]).collect::<Vec<_>>();
        words.join(" ")
    }

    fn url(&mut self) -> String {
        if self.below(5) == 0 {
            return String::new();
        }
        let scheme = if self.below(4) == 0 { "https" } else { "http" };
        let domain = DOMAINS[self.skewed(DOMAINS.len() as u64) as usize];
        format!("{scheme}://{domain}/{}/{}", WORDS[self.below(3) as usize], self.skewed(40_000))
    }
}
