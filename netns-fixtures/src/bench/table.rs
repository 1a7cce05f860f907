//! The report for people.

use super::{
    bars::Bar,
    crowd::Crowd,
    growth::Growth,
    race::{Finish, Row},
    report::Report,
    samples::Spread,
    scaling::Scaling,
    startup,
};

/// Prints all of it on stdout.
pub fn print(report: &Report) {
    head(report);
    race(&report.rows);
    scaling(&report.scaling);
    report.cni.iter().for_each(growth);
    crowd(&report.crowd);
    startup::print(&report.startup);
    bars(&report.bars);
}

fn head(report: &Report) {
    let machine = &report.machine;
    println!(
        "\nLinux {}, {} processors, load {:.1} before and {:.1} after; {} rounds; {}",
        machine.kernel,
        machine.processors,
        machine.load_before,
        machine.load_after,
        report.rounds,
        report.binary.path.display()
    );
}

fn race(rows: &[Row]) {
    println!("\nWhole processes: median [min, quartiles] in ms; × is the median against netup's");
    println!(
        "{:<20} {:>7} {:<30} {:>7} {:<30} {:>9}",
        "", "up ×", "up", "down ×", "down", "restart ×"
    );
    for row in rows {
        match &row.finish {
            Finish::Absent(why) => println!("{:<20} {why}", row.name),
            Finish::Measured(times) => println!(
                "{:<20} {:>7.2} {:<30} {:>7.2} {:<30} {:>9.2} {}",
                row.name,
                times.up_ratio,
                middle(&times.up),
                times.down_ratio,
                middle(&times.down),
                times.restart_ratio,
                middle(&times.restart)
            ),
        }
    }
}

fn scaling(scaling: &Scaling) {
    println!(
        "\nWith so many attachments: median [min, quartiles] in ms; × is against the first row"
    );
    println!("{:>5} {:>6} {:<30} {:>6} {:<30} {:>6} {:<30}", "", "×", "up", "×", "down", "×", "ls");
    for cost in &scaling.at {
        println!(
            "{:>5} {:>6.2} {:<30} {:>6.2} {:<30} {:>6.2} {:<30}",
            cost.attachments,
            cost.up_ratio,
            middle(&cost.up),
            cost.down_ratio,
            middle(&cost.down),
            cost.ls_ratio,
            middle(&cost.ls)
        );
    }
    let weights = &scaling.weights;
    println!(
        "\nPeak memory at the last row, KiB: up {}, down {}, ls {} (/bin/true by the same method: {})",
        weights.up_kib, weights.down_kib, weights.ls_kib, weights.floor_kib
    );
}

fn growth(growth: &Growth) {
    println!("\n{} with so many attachments, as above", growth.what);
    println!("{:>5} {:>6} {:<30} {:>6} {:<30}", "", "×", "ADD", "×", "DEL");
    for cost in &growth.at {
        println!(
            "{:>5} {:>6.2} {:<30} {:>6.2} {:<30}",
            cost.attachments,
            cost.add_ratio,
            middle(&cost.add),
            cost.del_ratio,
            middle(&cost.del)
        );
    }
}

fn crowd(crowd: &Crowd) {
    println!("\n{} calls of netup --subnet, wall time of all, and per call, in ms", crowd.calls);
    for (way, pace) in [("at once", &crowd.at_once), ("in turn", &crowd.in_turn)] {
        for (verb, spread) in [("up", &pace.up), ("down", &pace.down)] {
            let each = spread.median_ms / crowd.calls as f64;
            println!("{way:<8} {verb:<5} {:<30} {each:.2} each", middle(spread));
        }
    }
    let latency = &crowd.up_latency;
    println!("at once, a single up waits {}, at most {:.1}", middle(latency), latency.max_ms);
}

/// The promises and what became of them.
pub fn bars(bars: &[Bar]) {
    println!("\nThe bars");
    for bar in bars {
        let mark = if bar.passed { "pass" } else { "MISS" };
        let measured = bar
            .measured
            .map_or("not installed".to_owned(), |measured| format!("{measured:.2} {}", bar.unit));
        println!("{mark}  {:<48} {:<14} {measured}", bar.what, bar.wanted);
    }
}

/// 1.53 [1.41 1.48–1.60]
pub fn middle(spread: &Spread) -> String {
    format!(
        "{:.2} [{:.2} {:.2}–{:.2}]",
        spread.median_ms, spread.min_ms, spread.p25_ms, spread.p75_ms
    )
}
