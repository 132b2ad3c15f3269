//! Charts that code run in the sandbox hands out between the lines of its output.

use memchr::memmem;
use serde::{Deserialize, Serialize};

/// Begins a line that is an artifact. SDKs before 0.167 look for it themselves.
const PREFIX: &[u8] = b"dtn_artifact_k39fd2:";

/// `Chart` of the contract. Fields that it doesn't name are dropped: strict clients refuse them.
#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Chart {
    /// `line`, `scatter`, `bar`, `pie`, `box_and_whisker`, `composite_chart` or `unknown`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    /// Base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    png: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x_label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y_label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x_ticks: Option<Vec<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y_ticks: Option<Vec<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x_tick_labels: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y_tick_labels: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x_scale: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y_scale: Option<String>,
    #[serde(default)]
    elements: Vec<ChartElement>,
}

/// `ChartElement` of the contract: a line, a bar, a wedge, a box, or a chart inside a composite one.
#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ChartElement {
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    png: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x_label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y_label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    points: Option<Vec<Vec<f64>>>,
    /// Text, also for numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    angle: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    radius: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_quartile: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    median: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    third_quartile: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outliers: Option<Vec<f64>>,
}

#[derive(Deserialize)]
struct Artifact {
    #[serde(rename = "type")]
    kind: String,
    value: Chart,
}

/// Takes the artifacts out of `output`: lines that begin with the prefix always, the rest of a line when it really is one
/// (code that printed something without a newline before).
pub fn extract(output: Vec<u8>) -> (Vec<u8>, Vec<Chart>) {
    let mut charts = Vec::new();
    let mut text = Vec::new();
    let mut kept = 0;
    for at in memmem::find_iter(&output, PREFIX) {
        if at < kept {
            continue;
        }
        let payload = &output[at + PREFIX.len()..];
        let length = memchr::memchr(b'\n', payload).unwrap_or(payload.len());
        let chart = parse(&payload[..length]);
        if chart.is_none() && at > 0 && output[at - 1] != b'\n' {
            continue;
        }
        charts.extend(chart);
        text.extend_from_slice(&output[kept..at]);
        kept = (at + PREFIX.len() + length + 1).min(output.len());
    }
    if kept == 0 {
        return (output, charts);
    }
    text.extend_from_slice(&output[kept..]);
    (text, charts)
}

fn parse(payload: &[u8]) -> Option<Chart> {
    let artifact: Artifact = serde_json::from_slice(payload).ok()?;
    (artifact.kind == "chart").then_some(artifact.value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BAR: &str = r#"dtn_artifact_k39fd2:{"type":"chart","value":{"type":"bar","title":"T","odd":1,"elements":[{"label":"a","value":"3","odd":[]}]}}"#;

    fn extracted(output: &str) -> (String, Vec<Chart>) {
        let (text, charts) = extract(output.as_bytes().to_vec());
        (String::from_utf8(text).expect("UTF-8"), charts)
    }

    #[test]
    fn artifact_lines_become_charts() {
        let (text, charts) = extracted(&format!("before\n{BAR}\nafter\n"));
        assert_eq!(text, "before\nafter\n");
        let json = serde_json::to_value(&charts[0]).expect("JSON");
        let expected = serde_json::json!({"type": "bar", "title": "T", "elements": [{"label": "a", "value": "3"}]});
        assert_eq!(json, expected);
        assert_eq!(extracted(&format!("no newline {BAR}\n")), ("no newline ".into(), charts));
    }

    #[test]
    fn what_is_no_chart_is_removed_at_the_start_of_a_line_only() {
        assert_eq!(extracted("dtn_artifact_k39fd2:{nope\nx"), ("x".into(), vec![]));
        assert_eq!(extracted("dtn_artifact_k39fd2:{\"type\":\"other\",\"value\":{}}"), (String::new(), vec![]));
        assert_eq!(extracted("say dtn_artifact_k39fd2: it\n"), ("say dtn_artifact_k39fd2: it\n".into(), vec![]));
    }

    proptest! {
        #[test]
        fn other_output_is_untouched(text in "[a-z_\n:]*", n in 0usize..4) {
            let lines: Vec<&str> = text.split_inclusive('\n').collect();
            let at = lines.len() / 2;
            let mut with: String = lines[..at].concat();
            (0..n).for_each(|_| { with.push_str(BAR); with.push('\n') });
            with.push_str(&lines[at..].concat());
            let (left, charts) = extracted(&with);
            prop_assert_eq!(left, text);
            prop_assert_eq!(charts.len(), n);
        }
    }
}
