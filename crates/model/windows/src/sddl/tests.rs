use super::*;
use crate::{SD_ADMIN, SD_DIR, SD_FILE, SD_USER, base64, from_base64};

/// What go-winio's `SecurityDescriptorToSddl` said of the constants.
const KNOWN: [(&str, &str); 4] = [
    (
        SD_DIR,
        "O:BAG:SYD:(A;OICI;FA;;;BA)(A;OICI;FA;;;SY)(A;;FA;;;BA)(A;OICIIO;GA;;;CO)\
         (A;OICI;0x1200a9;;;BU)(A;CI;LC;;;BU)(A;CI;DC;;;BU)",
    ),
    (SD_FILE, "O:BAG:SYD:(A;;FA;;;BA)(A;;FA;;;SY)(A;;0x1200a9;;;BU)"),
    (SD_USER, "O:BUG:BU"),
    (SD_ADMIN, "O:BAG:BA"),
];

#[test]
fn known_descriptors_are_the_same_in_both_forms() {
    for (bytes, text) in KNOWN {
        assert_eq!(sddl_to_bytes(text).map(|bytes| base64(&bytes)).as_deref(), Ok(bytes));
        assert_eq!(sddl_from_bytes(&from_base64(bytes.as_bytes()).unwrap()).as_deref(), Ok(text));
    }
}

#[test]
fn everything_of_the_grammar_comes_back() {
    for (text, again) in [
        ("D:PAI(A;;FA;;;WD)", "D:PAI(A;;FA;;;WD)"),
        ("d:p(a;oici;fa;;;ba)", "D:P(A;OICI;FA;;;BA)"),
        ("O:S-1-5-93-2-2G:S-1-5-93-2-1D:", "O:S-1-5-93-2-2G:S-1-5-93-2-1D:"),
        ("O:S-1-5-18G:BA", "O:SYG:BA"),
        ("D:NO_ACCESS_CONTROL", "D:NO_ACCESS_CONTROL"),
        ("D:(D;;GRGW;;;AN)(A;NPIDIO;0x1f;;;AU)", "D:(D;;GWGR;;;AN)(A;NPIOID;CCDCLCSWRP;;;AU)"),
        ("S:AI(AU;SAFA;FA;;;WD)(ML;;NWNR;;;HI)", "S:AI(AU;SAFA;FA;;;WD)(ML;;NWNR;;;HI)"),
        ("D:S:(ML;;NW;;;LW)", "D:S:(ML;;NW;;;LW)"),
        (
            "D:(OA;CI;RPWP;bf967aba-0de6-11d0-a285-00aa003049e2;;SY)",
            "D:(OA;CI;RPWP;bf967aba-0de6-11d0-a285-00aa003049e2;;SY)",
        ),
        ("D:(A;;1179817;;;BU)", "D:(A;;0x1200a9;;;BU)"),
        ("D:(A;;0777;;;BU)", "D:(A;;CCDCLCSWRPWPDTLOCR;;;BU)"),
        (" O:BA  D: ( A ; OI ; SYSD ; ; ; BU )", "O:BAD:(A;OI;0x110000;;;BU)"),
        ("O:S-1-0x123456789ab-7", "O:S-1-0x123456789ab-7"),
    ] {
        let bytes = sddl_to_bytes(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(sddl_from_bytes(&bytes).as_deref(), Ok(again), "{text}");
        assert_eq!(sddl_to_bytes(again), Ok(bytes), "{text}");
    }
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (text, position, what) in [
        ("", 0, "the text is empty"),
        ("X:BA", 0, "there is no such part: `O:`, `G:`, `D:` and `S:` are known"),
        ("O:BAO:SY", 4, "a second `O:`"),
        ("O:QQ", 2, "expected an account: two letters such as `BA`, or `S-1-…`"),
        ("O:DA", 2, "`DA` is an account of a domain or machine, which an image has not"),
        ("O:S-1-5-x", 2, "a malformed SID: expected `S-1-`, and up to 16 numbers"),
        (
            "D:(A;;FA;;;BA",
            13,
            "expected `)`: an entry has six fields, kind;flags;rights;object;inherits;account",
        ),
        (
            "D:(A;;FA;BA)",
            11,
            "expected `;`: an entry has six fields, kind;flags;rights;object;inherits;account",
        ),
        ("D:(Q;;FA;;;BA)", 3, "`Q` is no kind of entry: `A` allows, `D` denies, `AU` audits"),
        ("D:(A;OIXX;FA;;;BA)", 7, "`XX` is no flag: OI, CI, NP, IO, ID, SA, FA are"),
        (
            "D:(A;;FAQQ;;;BA)",
            8,
            "`QQ` is no right: FA, FR, FW, FX, GA, SD, WD … are, or a number such as 0x1200a9",
        ),
        ("D:(A;;0xffffffffff;;;BA)", 6, "`0xffffffffff` is no number of 32 bits"),
        (
            "D:(XA;;FA;;;BA;(x))",
            3,
            "entries of kind `XA` hold conditions, which mean nothing in a layer",
        ),
        ("D:Z(A;;FA;;;BA)", 2, "expected `P`, `AR`, `AI` or an entry in parentheses"),
        ("D:(A;;FA;0;;BA)", 9, "only object entries (`OA`, `OD`, `OU`) name an object"),
        ("O:BÄ", 3, "a character that SDDL does not have"),
        ("nonsense", 0, "expected `O:` (owner), `G:` (group), `D:` (access) or `S:` (auditing)"),
    ] {
        assert_eq!(sddl_to_bytes(text), Err(SddlError::new(position, what)), "{text}");
    }
    let error = sddl_to_bytes("O:QQ").unwrap_err();
    assert!(error.to_string().ends_with("(at character 3)"), "{error}");
}

#[test]
fn no_cut_text_or_changed_bytes_panic() {
    let text = "O:BAG:S-1-5-93-2-2D:PAI(OA;CI;RPWP;bf967aba-0de6-11d0-a285-00aa003049e2;;SY)S:(ML;;NW;;;LW)";
    for end in 0..=text.len() {
        drop(sddl_to_bytes(text.get(..end).unwrap_or_default()));
        drop(sddl_to_bytes(text.get(end..).unwrap_or_default()));
    }
    let bytes = sddl_to_bytes(text).unwrap();
    for at in 0..bytes.len() {
        for value in [0, 1, 4, 0x7f, 0xff] {
            let mut changed = bytes.clone();
            changed[at] = value;
            if let Ok(text) = sddl_from_bytes(&changed) {
                // What can be said can be read.
                drop(sddl_to_bytes(&text));
            }
        }
    }
}
