//! `check --junit` writes what Jenkins' plugin xUnit accepts (`junit-10.xsd` of jenkinsci/xunit-plugin).
//!
//! The schema itself is not here. The test asserts its rules for each element: the attributes that it must and may
//! have, the elements that each may contain, which of them hold text, and the pattern of times.

use std::path::Path;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::{CHECK, workspace};
use crate::support::recordings::sc_record;

/// The schema's rules for an element.
struct Element {
    name: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
    children: &'static [&'static str],
    text: bool,
}

const fn leaf(
    name: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
    text: bool,
) -> Element {
    Element {
        name,
        required,
        optional,
        children: &[],
        text,
    }
}

const SCHEMA: &[Element] = &[
    Element {
        name: "testsuites",
        required: &[],
        optional: &["name", "time", "tests", "failures", "errors"],
        children: &["testsuite"],
        text: false,
    },
    Element {
        name: "testsuite",
        required: &["name", "tests", "failures", "errors"],
        optional: &[
            "group",
            "time",
            "skipped",
            "timestamp",
            "hostname",
            "id",
            "package",
            "file",
            "log",
            "url",
        ],
        children: &[
            "testsuite",
            "properties",
            "testcase",
            "system-out",
            "system-err",
        ],
        text: false,
    },
    Element {
        name: "testcase",
        required: &["name"],
        optional: &["time", "classname", "group"],
        children: &["skipped", "error", "failure", "system-out", "system-err"],
        text: false,
    },
    Element {
        name: "properties",
        required: &[],
        optional: &[],
        children: &["property"],
        text: false,
    },
    leaf("property", &["name", "value"], &[], false),
    leaf("failure", &[], &["type", "message"], true),
    leaf("error", &[], &["type", "message"], true),
    leaf("skipped", &[], &["type", "message"], true),
    leaf("system-out", &[], &[], true),
    leaf("system-err", &[], &[], true),
];

/// Times: digits, with commas between groups of three, and a fraction.
fn is_time(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    digits(&whole.replace(',', "")) && digits(fraction)
}

fn element(
    parents: &[&'static Element],
    start: &BytesStart<'_>,
) -> Result<&'static Element, String> {
    let name = String::from_utf8(start.name().as_ref().to_vec()).unwrap();
    let element = SCHEMA.iter().find(|element| element.name == name);
    let element = element.ok_or_else(|| format!("<{name}>"))?;
    let fits = match parents.last() {
        None => matches!(element.name, "testsuites" | "testsuite"),
        Some(parent) => parent.children.contains(&element.name),
    };
    if !fits {
        return Err(format!(
            "<{name}> in {:?}",
            parents.last().map(|parent| parent.name)
        ));
    }
    let mut has = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        let key = String::from_utf8(attribute.key.as_ref().to_vec()).unwrap();
        if key == "time" && element.name != "testcase" {
            let value = String::from_utf8_lossy(&attribute.value).into_owned();
            is_time(&value)
                .then_some(())
                .ok_or(format!("time={value}"))?;
        }
        has.push(key);
    }
    let known = |key: &String| {
        element.required.contains(&key.as_str()) || element.optional.contains(&key.as_str())
    };
    if let Some(key) = has.iter().find(|key| !known(key)) {
        return Err(format!("<{name} {key}=…>"));
    }
    let mut missing = element
        .required
        .iter()
        .filter(|key| !has.iter().any(|has| has == *key));
    match missing.next() {
        Some(key) => Err(format!("<{name}> without {key}")),
        None => Ok(element),
    }
}

/// Checks a text by the schema.
fn validate(xml: &str) -> Result<(), String> {
    let mut reader = Reader::from_str(xml);
    let mut parents: Vec<&Element> = Vec::new();
    let mut roots = 0;
    loop {
        let event = reader.read_event().map_err(|error| error.to_string())?;
        roots +=
            usize::from(parents.is_empty() && matches!(event, Event::Start(_) | Event::Empty(_)));
        match event {
            Event::Start(start) => parents.push(element(&parents, &start)?),
            Event::Empty(start) => _ = element(&parents, &start)?,
            Event::End(_) => _ = parents.pop(),
            Event::Text(text) if !text.iter().all(u8::is_ascii_whitespace) => {
                let parent = parents.last().filter(|parent| parent.text);
                parent.ok_or_else(|| format!("text: {text:?}"))?;
            }
            Event::Eof => break,
            _ => {}
        }
    }
    if roots == 1 {
        Ok(())
    } else {
        Err(format!("{roots} roots"))
    }
}

fn written(folder: &Path, line: &str) -> String {
    let output = sc_record(folder, &format!("{line} --junit junit.xml"));
    assert!(output.status.code() <= Some(1), "{output:?}");
    std::fs::read_to_string(folder.join("junit.xml")).unwrap()
}

#[apply(test)]
fn junit_is_what_jenkins_accepts() {
    let folder = workspace();
    let checked = [
        CHECK.to_owned(),
        format!("{CHECK} --strict"),
        "check profiles/app.json -r recordings/live.json -q -- /bin/true".to_owned(),
    ];
    for line in checked {
        let xml = written(folder.path(), &line);
        assert_eq!(validate(&xml), Ok(()), "{line}: {xml}");
    }
    // The check does say no.
    let xml = written(folder.path(), CHECK);
    let broken = |from: &str, to: &str, error: &str| {
        assert!(xml.contains(from), "{xml}");
        assert_eq!(validate(&xml.replacen(from, to, 1)), Err(error.to_owned()));
    };
    broken(
        "<testsuites ",
        "<testsuites skipped=\"0\" ",
        "<testsuites skipped=…>",
    );
    broken("<testsuites ", "<testsuites time=\"1s\" ", "time=1s");
    broken("<testcase name=", "<testcase id=", "<testcase id=…>");
    broken(
        "<testcase ",
        "<failure/><testcase ",
        "<failure> in Some(\"testsuite\")",
    );
    broken(
        "errors=\"0\" failures",
        "failures",
        "<testsuite> without errors",
    );
}
