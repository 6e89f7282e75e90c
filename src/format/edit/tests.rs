use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde::Serialize;

use super::*;
use crate::profile::{ArgCmp, Op, strategies};
use crate::syscall::Arch;

fn allow(names: &[&str]) -> Edit {
    Edit {
        allow: names.iter().map(|&name| name.to_owned()).collect(),
        ..Edit::default()
    }
}

/// What an edit makes of a text, line by line: `-` is gone, `+` is new.
#[track_caller]
fn check(text: &str, change: &Edit, expect: &str) {
    let new = edit(Format::Oci, text, change).unwrap();
    let edited = change.apply(&parse(Format::Oci, text.as_bytes()).unwrap());
    assert_eq!(parse(Format::Oci, new.as_bytes()).unwrap(), edited);
    let diff = similar::TextDiff::from_lines(text, &new);
    let lines = diff.iter_all_changes().map(|change| match change.tag() {
        similar::ChangeTag::Delete => format!("-{change}"),
        similar::ChangeTag::Insert => format!("+{change}"),
        similar::ChangeTag::Equal => String::new(),
    });
    let lines: String = lines.collect();
    assert_eq!(lines, expect, "{new}");
}

/// In nobody's order, with four spaces, and a condition.
const HAND_MADE: &str = r#"{
    "syscalls": [
        {
            "action": "SCMP_ACT_ALLOW",
            "names": ["socket"],
            "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]
        },
        {
            "names": [
                "write",
                "read"
            ],
            "action": "SCMP_ACT_ALLOW"
        },
        { "names": ["a", "c"], "action": "SCMP_ACT_ALLOW" }
    ],
    "defaultAction": "SCMP_ACT_ERRNO"
}
"#;

#[test]
fn names_go_into_the_first_rule_that_allows_with_any_arguments() {
    check(
        HAND_MADE,
        &allow(&["mount", "read"]),
        "-                \"read\"\n+                \"read\",\n+                \"mount\"\n",
    );
}

#[test]
fn in_a_sorted_list_a_name_comes_where_it_belongs() {
    let text = r#"{"defaultAction":"SCMP_ACT_KILL","syscalls":[{"names":["b", "d"],"action":"SCMP_ACT_ALLOW"}]}"#;
    let new = edit(Format::Oci, text, &allow(&["a", "c", "e"])).unwrap();
    assert_eq!(
        new,
        r#"{"defaultAction":"SCMP_ACT_KILL","syscalls":[{"names":["a", "b", "c", "d", "e"],"action":"SCMP_ACT_ALLOW"}]}"#
    );
}

#[test]
fn where_no_rule_can_take_a_name_one_is_added() {
    let text = "{\r\n\t\"defaultAction\": \"SCMP_ACT_ERRNO\",\r\n\t\"syscalls\": [\r\n\t\t{\r\n\t\t\t\"names\": [\"x\"],\r\n\t\t\t\"action\": \"SCMP_ACT_LOG\"\r\n\t\t}\r\n\t]\r\n}";
    let new = edit(Format::Oci, text, &allow(&["read"])).unwrap();
    assert_eq!(
        new,
        "{\r\n\t\"defaultAction\": \"SCMP_ACT_ERRNO\",\r\n\t\"syscalls\": [\r\n\t\t{\r\n\t\t\t\"names\": [\"x\"],\r\n\t\t\t\"action\": \"SCMP_ACT_LOG\"\r\n\t\t}\
         ,{\r\n\t\t\t\"names\": [\r\n\t\t\t\t\"read\"\r\n\t\t\t],\r\n\t\t\t\"action\": \"SCMP_ACT_ALLOW\"\r\n\t\t}\r\n\t]\r\n}"
            .replace(",{", ",\r\n\t\t{")
    );
    for text in [
        r#"{"defaultAction":"SCMP_ACT_ERRNO"}"#,
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":null}"#,
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[]}"#,
    ] {
        let new = edit(Format::Oci, text, &allow(&["read"])).unwrap();
        assert_eq!(
            new,
            r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}"#
        );
    }
}

#[test]
fn an_abi_is_listed_beside_the_native_one() {
    let change = Edit {
        arches: BTreeSet::from([Arch::X32]),
        ..Edit::default()
    };
    let mut arches = [Arch::NATIVE, Arch::X32];
    arches.sort_unstable();
    let [first, second] = arches.map(|arch| arch.oci_name().unwrap());
    let expected = format!(
        "-    \"defaultAction\": \"SCMP_ACT_ERRNO\"\n+    \"defaultAction\": \"SCMP_ACT_ERRNO\",\n+    \"architectures\": [\n\
         +        \"{first}\",\n+        \"{second}\"\n+    ]\n"
    );
    check(HAND_MADE, &change, &expected);
    let text = HAND_MADE.replace(
        "    \"syscalls\": [\n",
        "    \"architectures\": [\"SCMP_ARCH_X86\"],\n    \"syscalls\": [\n",
    );
    check(
        &text,
        &change,
        "-    \"architectures\": [\"SCMP_ARCH_X86\"],\n+    \"architectures\": [\"SCMP_ARCH_X86\",\"SCMP_ARCH_X32\"],\n",
    );
}

#[test]
fn names_are_taken_out_and_so_are_rules_that_have_none_left() {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let change = Edit {
        remove: BTreeMap::from([
            (0, names(&["socket"])),
            (1, names(&["read"])),
            (2, names(&["a"])),
        ]),
        ..Edit::default()
    };
    let new = edit(Format::Oci, HAND_MADE, &change).unwrap();
    assert_eq!(
        new,
        r#"{
    "syscalls": [
        {
            "names": [
                "write"
            ],
            "action": "SCMP_ACT_ALLOW"
        },
        { "names": ["c"], "action": "SCMP_ACT_ALLOW" }
    ],
    "defaultAction": "SCMP_ACT_ERRNO"
}
"#
    );
}

#[test]
fn what_changes_nothing_keeps_every_byte() {
    for change in [Edit::default(), allow(&["read"])] {
        assert_eq!(edit(Format::Oci, HAND_MADE, &change).unwrap(), HAND_MADE);
    }
}

proptest! {
    #[test]
    fn an_edited_text_says_what_the_edited_profile_says(
        profile in strategies::profile(),
        allow in prop::collection::btree_set("[a-z]{1,3}", 0..5),
        arches in prop::collection::btree_set(prop::sample::select(&[Arch::X86_64, Arch::X86, Arch::Aarch64][..]), 0..3),
        remove in prop::collection::btree_map(0_usize..4, 0_usize..3, 0..3),
        indent in "[ \t]{0,3}",
    ) {
        let Ok(text) = render(Format::Oci, &profile) else { return Ok(()) };
        // In another order and layout than it is rendered in, so that it is changed in place.
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut bytes = Vec::new();
        let layout = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, layout)).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let mut change = Edit { allow, arches, ..Edit::default() };
        for (rule, name) in remove {
            if let Some(name) = profile.rules().get(rule).and_then(|rule| rule.names().get(name)) {
                change.remove.insert(rule, BTreeSet::from([name.clone()]));
            }
        }
        let profile = parse(Format::Oci, text.as_bytes()).unwrap();
        let new = edit(Format::Oci, &text, &change).unwrap();
        prop_assert_eq!(parse(Format::Oci, new.as_bytes()).unwrap(), change.apply(&profile));
    }
}

#[test]
fn rules_with_comparisons_come_last_in_the_layout_of_the_others() {
    let text = r#"{
    "defaultAction": "SCMP_ACT_ERRNO",
    "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
        {
            "names": ["write"],
            "action": "SCMP_ACT_LOG"
        }
    ]
}"#;
    let arg = ArgCmp::new(0, Op::MaskedEq, 0xffff_ffff, Some(38)).unwrap();
    let change = Edit {
        allow_with: [("socket".to_owned(), vec![arg])].into(),
        ..Edit::default()
    };
    assert!(!change.is_empty());
    let new = edit(Format::Oci, text, &change).unwrap();
    let added = r#"
        },
        {
            "names": [
                "socket"
            ],
            "action": "SCMP_ACT_ALLOW",
            "args": [
                {
                    "index": 0,
                    "value": 4294967295,
                    "valueTwo": 38,
                    "op": "SCMP_CMP_MASKED_EQ"
                }
            ]
        }
    ]
}"#;
    let before = text.strip_suffix("\n        }\n    ]\n}").unwrap();
    assert_eq!(new, before.to_owned() + added);
}
