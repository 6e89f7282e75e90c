//! Tests of the command line's definitions, and of the command lines and links in the documentation.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use pulldown_cmark::{Event, Tag, TagEnd};

use super::*;

/// The verb (`""` for record) and the command of a command line, or the kind of the error.
fn parse(line: &str) -> Result<(String, String), clap::error::ErrorKind> {
    let args = std::iter::once("sc-record").chain(line.split_whitespace());
    let cli = Cli::try_parse_from(args).map_err(|error| error.kind())?;
    let command: Vec<_> = cli.record.command.iter().map(|a| a.to_str()).collect();
    let command: Option<Vec<_>> = command.into_iter().collect();
    let verb = cli.verb.map(|verb| format!("{verb:?}")).unwrap_or_default();
    let verb = verb.split('(').next().unwrap_or_default().to_lowercase();
    Ok((verb, command.unwrap_or_default().join(" ")))
}

#[test]
fn definitions_are_sound() {
    Cli::command().debug_assert();
}

#[test]
fn everything_after_the_command_belongs_to_it() {
    let check = |line: &str, command: &str| {
        assert_eq!(
            parse(line),
            Ok((String::new(), command.to_owned())),
            "{line}"
        );
    };
    check("./x --flag", "./x --flag");
    check("./x -q --name y -- z", "./x -q --name y -- z");
    check("-q ./x completions", "./x completions");
    check("-n y -- ./x -n z", "./x -n z");
    check("-- completions bash", "completions bash");
    check("-- merge", "merge");
    check("-- -x", "-x");
    check("ls --help", "ls --help");
    check("ls --version", "ls --version");
    check("-p 1", "");
}

#[test]
fn a_verb_comes_first() {
    let check = |line: &str, verb: &str| {
        assert_eq!(parse(line), Ok((verb.to_owned(), String::new())), "{line}");
    };
    check("completions bash", "completions");
    check("merge a b -o c", "merge");
    check("merge - -q", "merge");
}

#[test]
fn what_makes_no_sense_is_refused() {
    use clap::error::ErrorKind as E;
    let check = |line: &str, kind| assert_eq!(parse(line), Err(kind), "{line}");
    check("", E::DisplayHelpOnMissingArgumentOrSubcommand);
    check("-q", E::MissingRequiredArgument);
    check("-p 1 ls", E::ArgumentConflict);
    check("-p 0", E::ValueValidation);
    check("-q -v ls", E::ArgumentConflict);
    check("--label x ls", E::ValueValidation);
    check("--label =x ls", E::ValueValidation);
    check("-n a/b ls", E::ValueValidation);
    check("-n .. ls", E::ValueValidation);
    check("--frobnicate ls", E::UnknownArgument);
    check("-b dtrace ls", E::InvalidValue);
    check("merge", E::MissingRequiredArgument);
}

/// README.md, and the pages of docs/.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("docs")).unwrap();
    let pages = docs.map(|page| page.unwrap().path());
    // Not the pictures.
    let pages = pages
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .chain(["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"].map(|page| root.join(page)));
    pages
        .map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
        .collect()
}

/// The commands in a piece of shell that begin with `sc-record`.
fn commands(shell: &str) -> Vec<Vec<String>> {
    let shell = shell
        .replace("\\\n", " ")
        .replace("$!", "1")
        .replace(';', " ; ");
    let words = shell.lines().flat_map(|line| {
        let line = line.strip_prefix("$ ").unwrap_or(line);
        shlex::split(line)
            .into_iter()
            .chain([vec![";".to_owned()]])
            .flatten()
    });
    let words: Vec<String> = words.collect();
    let is_operator = |word: &String| word.starts_with([';', '&', '|', '<', '>', '(']);
    words
        .split(is_operator)
        .filter(|command| command.first().is_some_and(|word| word == "sc-record"))
        .map(<[String]>::to_vec)
        .collect()
}

#[test]
fn documented_command_lines_are_understood() {
    let mut all = 0;
    for (page, text) in pages() {
        let mut in_block = false;
        for event in pulldown_cmark::Parser::new(&text) {
            let (shell, is_whole) = match event {
                Event::Start(Tag::CodeBlock(_)) => {
                    in_block = true;
                    continue;
                }
                Event::End(TagEnd::CodeBlock) => {
                    in_block = false;
                    continue;
                }
                Event::Text(text) if in_block => (text, true),
                Event::Code(text) => (text, false),
                _ => continue,
            };
            for command in commands(&shell) {
                all += 1;
                let Err(error) = Cli::try_parse_from(&command) else {
                    continue;
                };
                // In running text, a command may lack its arguments.
                let lacks = [
                    ErrorKind::MissingRequiredArgument,
                    ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
                    ErrorKind::DisplayHelp,
                ];
                assert!(
                    !is_whole && lacks.contains(&error.kind()),
                    "{}: {command:?}: {error}",
                    page.display()
                );
            }
        }
    }
    assert!(all > 50, "{all} command lines were found");
}

#[test]
fn documented_options_exist() {
    let mut all = Cli::command();
    all.build();
    let verbs = all
        .get_subcommands()
        .flat_map(|verb| std::iter::once(verb).chain(verb.get_subcommands()));
    let arguments = std::iter::once(&all)
        .chain(verbs)
        .flat_map(clap::Command::get_arguments);
    let options: BTreeSet<&str> = arguments.filter_map(clap::Arg::get_long).collect();
    for (page, text) in pages() {
        for event in pulldown_cmark::Parser::new(&text) {
            let Event::Code(code) = event else { continue };
            let Some(name) = code.strip_prefix("--").filter(|name| !name.is_empty()) else {
                continue;
            };
            let name = name.split([' ', '=']).next().unwrap();
            assert!(options.contains(name), "{}: --{name}", page.display());
        }
    }
}

/// The anchor that GitHub gives to a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
        .collect()
}

fn anchors(text: &str) -> Vec<String> {
    let mut anchors = Vec::new();
    let mut heading = None;
    for event in pulldown_cmark::Parser::new(text) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut heading {
                    *heading += &text;
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                anchors.extend(heading.take().map(|text| anchor(&text)));
            }
            _ => {}
        }
    }
    anchors
}

#[test]
fn links_within_the_documentation_lead_somewhere() {
    for (page, text) in pages() {
        for event in pulldown_cmark::Parser::new(&text) {
            let Event::Start(Tag::Link { dest_url, .. }) = event else {
                continue;
            };
            if dest_url.contains("://") {
                continue;
            }
            let (file, anchor) = dest_url.split_once('#').unwrap_or((&dest_url, ""));
            let target = if file.is_empty() {
                page.clone()
            } else {
                page.with_file_name(file)
            };
            assert!(target.exists(), "{}: {dest_url}", page.display());
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&target).unwrap();
                assert!(
                    anchors(&text).iter().any(|known| known == anchor),
                    "{}: {dest_url}",
                    page.display()
                );
            }
        }
    }
}

/// What is in a directory, but for hidden files and the build's.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            !name.starts_with('.') && name != "target"
        })
        .collect()
}

#[test]
fn the_code_map_is_the_tree_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let section = page
        .split("\n## ")
        .find(|text| text.starts_with("Code map"));
    let rows = section
        .unwrap()
        .lines()
        .skip_while(|line| !line.starts_with("| ---"));
    let quoted = |cell: &str| {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    let mut places = BTreeSet::new();
    for row in rows.filter(|line| line.starts_with('|')).skip(1) {
        let (row_places, about) = row[1..].split_once('|').unwrap();
        let row_places: Vec<String> = quoted(row_places);
        let words: Vec<String> = quoted(about);
        let is_file = |word: &&String| {
            let extension = Path::new(word).extension();
            word.ends_with('/') || extension.is_some_and(|end| end == "rs" || end == "c")
        };
        for file in words.iter().filter(is_file) {
            let above = ["", "src"].map(str::to_owned);
            let mut paths = (row_places.iter().chain(&above)).map(|at| root.join(at).join(file));
            let is_there = paths.any(|path| path.exists());
            assert!(is_there, "{row_places:?} has no {file}");
        }
        places.extend(row_places.iter().map(|place| root.join(place)));
    }
    for path in &places {
        assert!(path.exists(), "{} is not there", path.display());
    }
    let source = root.join("src");
    let backends = entries(&source.join("backend"));
    let mapped = (entries(root)
        .into_iter()
        .chain(backends)
        .filter(|path| path.is_dir()))
    .chain(entries(&source));
    for path in mapped.filter(|path| *path != source) {
        assert!(
            places.contains(&path) || places.contains(&path.with_extension("rs")),
            "{} is not in the code map",
            path.display()
        );
    }
}
