//! Dictionaries of structured fields (RFC 9651 §4.2).

use proptest::prelude::*;
use proptest::string::string_regex;
use ultragate_http::structured::BareItem::{
    Boolean, Bytes, Date, Decimal, DisplayString, Integer, String as Text, Token,
};
use ultragate_http::structured::{BareItem, Invalid, Member, dictionary};

/// Keys with what is told of their members, in order; `Err` for a field as if absent.
fn read(lines: &[&[u8]]) -> Result<Vec<(String, String)>, Invalid> {
    let mut members = Vec::new();
    dictionary(lines.iter().copied(), |key, member| {
        let key = String::from_utf8_lossy(key).into_owned();
        members.push((key, format!("{member:?}")));
    })?;
    Ok(members)
}

/// The one member of `k=...`.
fn value(text: impl AsRef<[u8]>) -> Option<String> {
    let line = [b"k=", text.as_ref()].concat();
    let members = read(&[&line]).ok()?;
    assert_eq!(members.len(), 1, "{}", line.escape_ascii());
    Some(members[0].1.clone())
}

fn assert_item(text: &str, item: BareItem<'_>) {
    let expected = format!("{:?}", Member::Item(item));
    assert_eq!(value(text), Some(expected), "{text}");
}

fn keys(lines: &[&str]) -> Option<String> {
    let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
    let members = read(&lines).ok()?;
    let keys: Vec<_> = members.into_iter().map(|(key, _)| key).collect();
    Some(keys.join(" "))
}

#[test]
fn items_of_every_type() {
    for (text, item) in [
        ("0", Integer(0)),
        ("-0", Integer(0)),
        ("007", Integer(7)),
        ("-42", Integer(-42)),
        ("999999999999999", Integer(999_999_999_999_999)),
        ("-999999999999999", Integer(-999_999_999_999_999)),
        ("1.5", Decimal(1_500)),
        ("-0.001", Decimal(-1)),
        ("1.05", Decimal(1_050)),
        ("999999999999.999", Decimal(999_999_999_999_999)),
        ("\"\"", Text(b"")),
        ("\"a b, c=d;\"", Text(b"a b, c=d;")),
        ("\"a\\\"b\\\\\"", Text(b"a\\\"b\\\\")),
        ("abc", Token(b"abc")),
        ("A", Token(b"A")),
        ("*", Token(b"*")),
        ("*a:b/c!#$%&'*+-.^_`|~9", Token(b"*a:b/c!#$%&'*+-.^_`|~9")),
        ("::", Bytes(b"")),
        (":aGVsbG8=:", Bytes(b"aGVsbG8=")),
        (":aGVsbG8:", Bytes(b"aGVsbG8")),
        (":+/==:", Bytes(b"+/==")),
        (":iZ==:", Bytes(b"iZ==")),
        ("?1", Boolean(true)),
        ("?0", Boolean(false)),
        ("@0", Date(0)),
        ("@-1659578233", Date(-1_659_578_233)),
        ("%\"\"", DisplayString(b"")),
        ("%\"f%c3%bc \\ ' x\"", DisplayString(b"f%c3%bc \\ ' x")),
        ("%\"%22%25%00\"", DisplayString(b"%22%25%00")),
        (
            "%\"%f0%9f%92%a9%e2%82%ac\"",
            DisplayString(b"%f0%9f%92%a9%e2%82%ac"),
        ),
    ] {
        assert_item(text, item);
        assert_item(&format!("{text} "), item);
        assert_item(&format!("{text};a;b={text}; c=1"), item);
    }
    for text in [
        "()",
        "( )",
        "(a)",
        "(  a  b )",
        "(1 \"x\";p=1;q ?0);r",
        "(:YQ==: @1)",
    ] {
        assert_eq!(
            value(text),
            Some(format!("{:?}", Member::InnerList)),
            "{text}"
        );
    }
}

const NO_ITEMS: &[&str] = &[
    "",
    " 1",
    "-",
    "--1",
    "-a",
    "+1",
    ".5",
    "1.",
    "1.a",
    "1.2345",
    "1..2",
    "1.2.3",
    "1e3",
    "1_000",
    "0x1",
    "1000000000000000",
    "-1000000000000000",
    "1234567890123.4",
    "1234567890123456.7",
    "\"",
    "\"a",
    "\"a\\\"",
    "\"a\\b\"",
    "\"a\\",
    "\"\t\"",
    "\"\u{7f}\"",
    "\"\u{e9}\"",
    "\"a\"b",
    "'a'",
    "a b",
    "a\"b\"",
    "a,",
    "a=b",
    "a@",
    "_a",
    "-a",
    "!a",
    "#",
    "&&&&&",
    "~",
    "/a",
    ".",
    "(",
    ")",
    "[",
    "{",
    "<",
    "|",
    "$",
    "^",
    "`",
    "\u{e9}",
    "é",
    ":",
    ":a",
    ":a:",
    ":abcde:",
    ":YQ=:x",
    ":YWI==:",
    ":YWJj=:",
    ":====:",
    ":=:",
    ":Y=Q=:",
    ":=YQ=:",
    ":YQ ==:",
    ":YQ_-:",
    ":YQ==",
    ":\u{e9}:",
    "?",
    "?2",
    "?01",
    "?1a",
    "?t",
    "?T",
    "@",
    "@a",
    "@1.5",
    "@ 1",
    "@\"1\"",
    "@1000000000000000",
    "%",
    "%a",
    "%\"",
    "%\"a",
    "%\"%",
    "%\"%4\"",
    "%\"%C3%BC\"",
    "%\"%g0\"",
    "%\"\u{e9}\"",
    "%\"\t\"",
    "%\"%c3\"",
    "%\"%c3x\"",
    "%\"%ff\"",
    "%\"%80\"",
    "%\"%c0%80\"",
    "%\"%ed%a0%80\"",
    "%\"%f4%90%80%80\"",
    "% \"a\"",
    "%'a'",
];

#[test]
fn what_is_no_item() {
    for text in NO_ITEMS {
        assert_eq!(value(text), None, "{text:?}");
    }
    for text in [
        "(",
        "(a",
        "(a ",
        "(a,b)",
        "(a\tb)",
        "(\ta)",
        "((a))",
        "(a)b",
        "(a)(b)",
        "(\"a\"\"b\")",
        "(a;)",
        "(&)",
        "(1\n2)",
        "( a",
    ] {
        assert_eq!(value(text), None, "{text:?}");
    }
    for text in [
        "1;",
        "1; ",
        "1;;a",
        "1;A",
        "1;a=",
        "1;a= 1",
        "1;a =1",
        "1;1",
        "1 ;a",
        "1;\ta",
        "1;a=(b)",
        "1;a=&",
        "();A",
        "1;a;b=c=d",
    ] {
        assert_eq!(value(text), None, "{text:?}");
    }
}

#[test]
fn bytes_that_are_not_text() {
    for byte in (0..=31u8).chain(127..=255) {
        for text in [&b"\"a"[..], b"%\"a", b"a", b"1", b":", b"("] {
            let end: &[u8] = match text {
                b"\"a" | b"%\"a" => b"\"",
                b":" => b":",
                b"(" => b")",
                _ => b"x",
            };
            assert_eq!(value([text, &[byte], end].concat()), None, "{byte:#x}");
        }
        assert_eq!(read(&[&[b'a', byte, b'b']]), Err(Invalid), "{byte:#x}");
    }
}

#[test]
fn members_and_what_parts_them() {
    for (lines, expected) in [
        (&[][..], ""),
        (&[""], ""),
        (&["   "], ""),
        (&["a"], "a"),
        (&["  a  "], "a"),
        (&["a\t"], "a"),
        (&["a=1,b=2"], "a b"),
        (&["a=1 ,  b=2"], "a b"),
        (&["a=1\t,\t b=2\t"], "a b"),
        (&["a;x;y=2,b"], "a b"),
        (&["a,b,a"], "a b a"),
        (&["a=1", "b=2"], "a b"),
        (&["a", "b", "c, d"], "a b c d"),
        (&["a=(1 2);x, *b-.9_*=?0"], "a *b-.9_*"),
        (&["a=\"x, y=\\\"\", z"], "a z"),
        (&["a=\"b", "c\", d"], "a d"),
        (&["a=\"1", "2", "3\""], "a"),
    ] {
        assert_eq!(keys(lines).as_deref(), Some(expected), "{lines:?}");
    }
    for lines in [
        &["\ta"][..],
        &[","],
        &[",a"],
        &["a,"],
        &["a, "],
        &["a,,b"],
        &["a, ,b"],
        &["a b"],
        &["a=1 b=2"],
        &["a=1; b=2;"],
        &["a ="],
        &["a= 1"],
        &["a =1"],
        &["a=="],
        &["=1"],
        &["A"],
        &["aB"],
        &["a:1"],
        &["1a"],
        &["-a"],
        &["_a"],
        &[".a"],
        &["\"a\""],
        &["a", ""],
        &["", "a"],
        &["", ""],
        &["a", "", "b"],
        &["a,", "b"],
        &["a=(1", "2)"],
        &["a=1, &&&&&"],
    ] {
        assert_eq!(keys(lines), None, "{lines:?}");
    }
}

#[test]
fn of_one_key_the_last_is_told_last() {
    let members = read(&[b"a=1, b=2", b"a=3"]).expect("a dictionary");
    let last = members.iter().rev().find(|(key, _)| key == "a");
    let expected = format!("{:?}", Member::Item(Integer(3)));
    assert_eq!(last.map(|(_, member)| member), Some(&expected));
}

const ITEM: &str = "-?[0-9]{1,15}|-?[0-9]{1,12}\\.[0-9]{1,3}|\"([ !#-\\[\\]-~]|\\\\[\"\\\\]){0,6}\"|\
    [A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]{0,6}|:([A-Za-z0-9+/]{4}){0,2}([A-Za-z0-9+/]{2}==)?:|\\?[01]|@-?[0-9]{1,15}|\
    %\"([ !#$&-~]|%[0-7][0-9a-f]|%c3%[89ab][0-9a-f]){0,4}\"";
const KEY: &str = "[a-z*][a-z0-9_.*-]{0,4}";

fn members_by_grammar() -> impl Strategy<Value = Vec<(String, String)>> {
    let parameters = format!("(; {{0,2}}{KEY}(=({ITEM}))?){{0,2}}");
    let inner = format!("\\( {{0,2}}(({ITEM}){parameters} {{1,2}}){{0,2}}\\)");
    let member = format!("(=({ITEM})|={inner})?{parameters}");
    prop::collection::vec((KEY, string_regex(&member).expect("a pattern")), 1..5)
}

proptest! {
    /// Whatever the ABNF allows is read, over any lines.
    #[test]
    fn what_the_grammar_allows_is_read(members in members_by_grammar(), cut in 0..5usize) {
        let texts: Vec<_> = members.iter().map(|(key, rest)| format!("{key}{rest}")).collect();
        let cut = cut.clamp(1, texts.len());
        let mut lines = vec![texts[..cut].join(" ,\t")];
        if cut < texts.len() {
            lines.push(texts[cut..].join(","));
        }
        let expected: Vec<_> = members.iter().map(|(key, _)| key.as_str()).collect();
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        prop_assert_eq!(keys(&lines), Some(expected.join(" ")), "{:?}", lines);
    }

    /// Parts of a dictionary are dictionaries: what is read is read no other way when more follows.
    #[test]
    fn a_dictionary_goes_on(one in "[a-c=;,?01\"( )@.:%-]{0,12}", other in KEY) {
        if let Some(before) = keys(&[&one]).filter(|before| !before.is_empty()) {
            prop_assert_eq!(keys(&[&one, &other]), Some(format!("{before} {other}")));
        }
    }
}
