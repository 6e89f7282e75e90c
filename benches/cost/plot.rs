//! The report as a picture.

use std::path::Path;

use anyhow::Result;
use plotters::prelude::*;

use crate::report::Report;

const COLOURS: [RGBColor; 9] = [
    RGBColor(0x99, 0x99, 0x99),
    RGBColor(0x55, 0x55, 0x55),
    RGBColor(0xc4, 0xa0, 0x00),
    RGBColor(0x8f, 0x59, 0x02),
    RGBColor(0x20, 0x4a, 0x87),
    RGBColor(0x00, 0xa0, 0xe0),
    RGBColor(0x2e, 0x8b, 0x22),
    RGBColor(0xa0, 0x20, 0xa0),
    RGBColor(0xcc, 0x20, 0x20),
];

/// A line for each workload, with a mark for each tool at its ratio to native.
pub(crate) fn draw(report: &Report, file: &Path) -> Result<()> {
    let count = report.rows.len();
    let height = u32::try_from(count)? * 32 + 140;
    let area = SVGBackend::new(file, (1000, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let most = (report.rows.iter())
        .flat_map(|row| (1..report.tools.len()).filter_map(|tool| row.ratio(tool)))
        .fold(2.0, |most: f64, ratio| most.max(ratio.median));
    let lines = f64::from(u32::try_from(count)?);
    let mut chart = ChartBuilder::on(&area)
        .caption("Time, as a multiple of the native time", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(190)
        .build_cartesian_2d((0.8..most * 1.2).log_scale(), lines..0.0)?;
    let name = |place: &f64| {
        let middle = (0u32..)
            .zip(&report.rows)
            .find(|(index, _)| (place - f64::from(*index) - 0.5).abs() < 0.01);
        middle.map_or_else(String::new, |(_, row)| row.workload.to_owned())
    };
    (chart.configure_mesh())
        .y_labels(2 * count + 1)
        .y_label_formatter(&name)
        .x_label_formatter(&|ratio| format!("{ratio}"))
        .label_style(("sans-serif", 13))
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (tool, colour) in (1..report.tools.len()).zip(COLOURS) {
        let marks = (0u32..).zip(&report.rows).filter_map(|(index, row)| {
            let ratio = row.ratio(tool)?;
            Some(Circle::new(
                (ratio.median, f64::from(index) + 0.5),
                5,
                colour.filled(),
            ))
        });
        (chart.draw_series(marks)?)
            .label(report.tools[tool])
            .legend(move |(x, y)| Circle::new((x + 10, y), 5, colour.filled()));
    }
    (chart.configure_series_labels())
        .label_font(("sans-serif", 13))
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    Ok(())
}
