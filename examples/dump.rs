//! What a query becomes: its program, Cranelift's IR, machine code, and a page that links them all.

use stagefuse::{Dump, Mode, Session};

#[tokio::main]
async fn main() -> Result<(), stagefuse::Error> {
    let session = Session::builder().target_partitions(1).mode(Mode::Compiled).build();
    let table = "CREATE TABLE t AS SELECT value AS x, value % 10 AS y FROM generate_series(1, 20000)";
    session.sql(table).await?.collect().await?;
    let query = session.sql("SELECT sum(x) AS total FROM t WHERE y = 3").await?;

    // The plan, a line for each stage, and the program.
    println!("{}", query.explain().await?);

    let ir = query.dump(Dump::Ir).await?;
    println!("{ir}");
    assert!(ir.contains("filter") && ir.contains("group groups0"), "{ir}");
    let clif = query.dump(Dump::Clif).await?;
    assert!(clif.contains("block0"), "{clif}");
    let asm = query.dump(Dump::Asm).await?;
    println!("{asm}");
    assert!(asm.contains("ret"), "{asm}");

    // Everything side by side, with what each stage did, as a page for a browser and as JSON.
    let report = query.report().await?;
    let page = std::env::temp_dir().join(format!("stagefuse-dump-{}.html", std::process::id()));
    std::fs::write(&page, report.html()).expect("the folder for temporary files takes a file");
    println!("{}: {} stages", page.display(), report.json()["nodes"][0]["stages"].as_array().map_or(0, Vec::len));
    assert!(report.json()["nodes"][0]["stages"][0]["code_bytes"].as_u64() > Some(0));
    let _ = std::fs::remove_file(page);
    Ok(())
}
