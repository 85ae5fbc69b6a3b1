//! Accounts that containers know, and what a file that is given to one of them grants.

use crate::{Sid, base64, sddl_to_bytes};

/// Names as `--chown` takes them, folded to lower case, and their SIDs. Of the first two, containers run as one.
const NAMES: [(&str, &str); 16] = [
    ("containeradministrator", "S-1-5-93-2-1"),
    ("containeruser", "S-1-5-93-2-2"),
    ("administrators", "BA"),
    ("users", "BU"),
    ("guests", "BG"),
    ("everyone", "WD"),
    ("system", "SY"),
    ("localsystem", "SY"),
    ("local service", "LS"),
    ("localservice", "LS"),
    ("network service", "NS"),
    ("networkservice", "NS"),
    ("authenticated users", "AU"),
    ("iis_iusrs", "IS"),
    ("all application packages", "AC"),
    ("trustedinstaller", "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"),
];

/// Prefixes that say where an account is from and change nothing.
const AUTHORITIES: [&str; 4] = ["builtin", "nt authority", "nt service", "user manager"];

/// The account of a name (in any case, perhaps after `BUILTIN\` or its like), a SID, or one of SDDL's words in capital
/// letters. `None` for accounts that not every Windows knows.
pub fn account(name: &str) -> Option<Sid> {
    let sid = |text: &str| text.parse::<Sid>().ok();
    if name.starts_with("S-1-")
        || (name.len() == 2 && name.bytes().all(|it| it.is_ascii_uppercase()))
    {
        return sid(name);
    }
    let lower = name.to_ascii_lowercase();
    let plain = match lower.split_once('\\') {
        Some((authority, rest)) if AUTHORITIES.contains(&authority) => rest,
        Some(_) => return None,
        None => &lower,
    };
    NAMES.iter().find(|(known, _)| *known == plain).and_then(|(_, text)| sid(text))
}

/// The descriptor (base64) of a file or directory that belongs to `owner`: what BuildKit gives everything, and for the
/// owner the right to modify and to delete.
pub fn owned_by(owner: &Sid, group: Option<&Sid>, is_directory: bool) -> String {
    let group = group.map_or_else(|| "SY".to_owned(), ToString::to_string);
    let entries = if is_directory {
        format!(
            "(A;OICI;FA;;;BA)(A;OICI;FA;;;SY)(A;OICI;0x1301bf;;;{owner})(A;OICIIO;GA;;;CO)\
             (A;OICI;0x1200a9;;;BU)(A;CI;LC;;;BU)(A;CI;DC;;;BU)"
        )
    } else {
        format!("(A;;FA;;;BA)(A;;FA;;;SY)(A;;0x1301bf;;;{owner})(A;;0x1200a9;;;BU)")
    };
    // A text made of SIDs and the words above is well-formed.
    sddl_to_bytes(&format!("O:{owner}G:{group}D:{entries}"))
        .map(|bytes| base64(&bytes))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check_security_descriptor, from_base64, sddl_from_bytes};

    #[test]
    fn accounts_are_known_by_name_sid_and_word() {
        let shown = |name| account(name).map(|sid| sid.to_string());
        assert_eq!(shown("ContainerUser").as_deref(), Some("S-1-5-93-2-2"));
        assert_eq!(shown("User Manager\\containeradministrator").as_deref(), Some("S-1-5-93-2-1"));
        assert_eq!(shown("BUILTIN\\Users").as_deref(), Some("BU"));
        assert_eq!(shown("NT AUTHORITY\\SYSTEM").as_deref(), Some("SY"));
        assert_eq!(shown("S-1-5-21-1-2-3-500").as_deref(), Some("S-1-5-21-1-2-3-500"));
        assert_eq!(shown("BA").as_deref(), Some("BA"));
        assert_eq!(shown("nobody"), None);
        assert_eq!(shown("DOMAIN\\Users"), None);
        assert_eq!(NAMES.iter().filter(|(name, _)| account(name).is_none()).count(), 0);
    }

    #[test]
    fn what_an_account_owns_it_may_modify() {
        let owner = account("ContainerUser").unwrap();
        let file = from_base64(owned_by(&owner, None, false).as_bytes()).unwrap();
        assert_eq!(check_security_descriptor(&file), Ok(()));
        assert_eq!(
            sddl_from_bytes(&file).as_deref(),
            Ok(
                "O:S-1-5-93-2-2G:SYD:(A;;FA;;;BA)(A;;FA;;;SY)(A;;0x1301bf;;;S-1-5-93-2-2)(A;;0x1200a9;;;BU)"
            )
        );
        let group = account("Users").unwrap();
        let directory = from_base64(owned_by(&owner, Some(&group), true).as_bytes()).unwrap();
        assert!(sddl_from_bytes(&directory).unwrap().starts_with(
            "O:S-1-5-93-2-2G:BUD:(A;OICI;FA;;;BA)(A;OICI;FA;;;SY)(A;OICI;0x1301bf;;;S-1-5-93-2-2)"
        ));
    }
}
