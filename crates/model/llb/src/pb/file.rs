use prost::{Message, Oneof};

/// Changes files.
#[derive(Clone, PartialEq, Message)]
pub struct FileOp {
    /// One after the other.
    #[prost(message, repeated, tag = "2")]
    pub actions: Vec<FileAction>,
}

/// One change. Input numbers below the count of the op's inputs are those, above it the results of earlier actions, -1
/// is empty.
#[derive(Clone, PartialEq, Message)]
pub struct FileAction {
    /// What is changed.
    #[prost(int64, tag = "1")]
    pub input: i64,
    /// What is copied from.
    #[prost(int64, tag = "2")]
    pub secondary_input: i64,
    /// Number of the op's output, or -1.
    #[prost(int64, tag = "3")]
    pub output: i64,
    /// The change.
    #[prost(oneof = "file_action::Action", tags = "4, 5, 6, 7, 8")]
    pub action: Option<file_action::Action>,
}

/// The kinds of change.
pub mod file_action {
    use super::{
        FileActionCopy, FileActionMkDir, FileActionMkFile, FileActionRm, FileActionSymlink, Oneof,
    };

    /// A change.
    #[derive(Clone, PartialEq, Oneof)]
    pub enum Action {
        /// Copies from the second input.
        #[prost(message, tag = "4")]
        Copy(FileActionCopy),
        /// Makes a file.
        #[prost(message, tag = "5")]
        Mkfile(FileActionMkFile),
        /// Makes a directory.
        #[prost(message, tag = "6")]
        Mkdir(FileActionMkDir),
        /// Removes.
        #[prost(message, tag = "7")]
        Rm(FileActionRm),
        /// Makes a symbolic link.
        #[prost(message, tag = "8")]
        Symlink(FileActionSymlink),
    }
}

/// Copies.
#[expect(clippy::struct_excessive_bools, reason = "the wire form")]
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct FileActionCopy {
    /// Path in the second input.
    #[prost(string, tag = "1")]
    pub src: String,
    /// Where to; a trailing slash counts.
    #[prost(string, tag = "2")]
    pub dest: String,
    /// New owner.
    #[prost(message, optional, tag = "3")]
    pub owner: Option<ChownOpt>,
    /// New permissions; -1 keeps them.
    #[prost(int32, tag = "4")]
    pub mode: i32,
    /// Follow a link that `src` names.
    #[prost(bool, tag = "5")]
    pub follow_symlink: bool,
    /// Of a directory copy what is in it.
    #[prost(bool, tag = "6")]
    pub dir_copy_contents: bool,
    /// Unpack archives.
    #[prost(bool, tag = "7")]
    pub attempt_unpack_docker_compatibility: bool,
    /// Make missing parents.
    #[prost(bool, tag = "8")]
    pub create_dest_path: bool,
    /// `src` is a pattern.
    #[prost(bool, tag = "9")]
    pub allow_wildcard: bool,
    /// A pattern that matches nothing is no error.
    #[prost(bool, tag = "10")]
    pub allow_empty_wildcard: bool,
    /// Nanoseconds since 1970; -1 keeps each file's.
    #[prost(int64, tag = "11")]
    pub timestamp: i64,
    /// Only what matches one of these.
    #[prost(string, repeated, tag = "12")]
    pub include_patterns: Vec<String>,
    /// Not what matches one of these.
    #[prost(string, repeated, tag = "13")]
    pub exclude_patterns: Vec<String>,
    /// Replace what is in the way even if its kind differs.
    #[prost(bool, tag = "14")]
    pub always_replace_existing_dest_paths: bool,
    /// New permissions in symbolic form.
    #[prost(string, tag = "15")]
    pub mode_str: String,
    /// Must be there although patterns select.
    #[prost(string, repeated, tag = "16")]
    pub required_paths: Vec<String>,
}

/// Makes a file.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct FileActionMkFile {
    /// Where.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Permissions.
    #[prost(int32, tag = "2")]
    pub mode: i32,
    /// Content.
    #[prost(bytes = "vec", tag = "3")]
    pub data: Vec<u8>,
    /// Owner.
    #[prost(message, optional, tag = "4")]
    pub owner: Option<ChownOpt>,
    /// Nanoseconds since 1970; -1 is the time of the build.
    #[prost(int64, tag = "5")]
    pub timestamp: i64,
}

/// Makes a symbolic link.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct FileActionSymlink {
    /// What it points at.
    #[prost(string, tag = "1")]
    pub oldpath: String,
    /// Where it is.
    #[prost(string, tag = "2")]
    pub newpath: String,
    /// Owner.
    #[prost(message, optional, tag = "3")]
    pub owner: Option<ChownOpt>,
    /// Nanoseconds since 1970; -1 is the time of the build.
    #[prost(int64, tag = "4")]
    pub timestamp: i64,
}

/// Makes a directory.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct FileActionMkDir {
    /// Where.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Permissions.
    #[prost(int32, tag = "2")]
    pub mode: i32,
    /// Make missing parents; an existing directory is no error.
    #[prost(bool, tag = "3")]
    pub make_parents: bool,
    /// Owner.
    #[prost(message, optional, tag = "4")]
    pub owner: Option<ChownOpt>,
    /// Nanoseconds since 1970; -1 is the time of the build.
    #[prost(int64, tag = "5")]
    pub timestamp: i64,
}

/// Removes.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct FileActionRm {
    /// What.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Missing is no error.
    #[prost(bool, tag = "2")]
    pub allow_not_found: bool,
    /// `path` is a pattern.
    #[prost(bool, tag = "3")]
    pub allow_wildcard: bool,
}

/// An owner.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct ChownOpt {
    /// User.
    #[prost(message, optional, tag = "1")]
    pub user: Option<UserOpt>,
    /// Group.
    #[prost(message, optional, tag = "2")]
    pub group: Option<UserOpt>,
}

/// A user or group.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct UserOpt {
    /// By name or number.
    #[prost(oneof = "user_opt::User", tags = "1, 2")]
    pub user: Option<user_opt::User>,
}

/// The forms of a user or group.
pub mod user_opt {
    use super::{NamedUserOpt, Oneof};

    /// A user or group.
    #[derive(Clone, PartialEq, Eq, Hash, Oneof)]
    pub enum User {
        /// By name.
        #[prost(message, tag = "1")]
        ByName(NamedUserOpt),
        /// By number.
        #[prost(uint32, tag = "2")]
        ById(u32),
    }
}

/// A user or group by name.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct NamedUserOpt {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Input whose `/etc/passwd` knows it; -1 is none.
    #[prost(int64, tag = "2")]
    pub input: i64,
}
