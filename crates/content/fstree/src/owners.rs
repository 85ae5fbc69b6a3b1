/// How owners of an image's files are kept on disk, given the user namespace that crossdock runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// Id `i` of the image is id `i + offset` on disk, for `i < count`.
    Shifted {
        /// What is added to an image's id.
        offset: u32,
        /// How many ids there are.
        count: u32,
    },
    /// Only one id is to be had: every file belongs to it (0 in crossdock's namespace), and an owner other than
    /// 0:0 is recorded in [`OWNER_XATTR`].
    Recorded,
}

/// `uid:gid:mode` (mode in octal) of a file whose owner cannot be kept on disk.
pub const OWNER_XATTR: &[u8] = b"user.crossdock.owner";
/// `c:major:minor` or `b:major:minor` of a device that cannot be made; the file itself is empty.
pub const DEVICE_XATTR: &[u8] = b"user.crossdock.device";
/// Attributes with this prefix hold what Windows knows of a file: its attributes and its security descriptor.
pub const WINDOWS_XATTRS: &[u8] = b"user.crossdock.windows.";
/// What an id without a mapping reads as.
pub const NOBODY: u32 = 65534;

/// An owner that this namespace has no id for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("user or group id {id} is outside the {count} ids available here")]
pub struct OwnerError {
    /// The id asked for.
    pub id: u32,
    /// How many ids are to be had.
    pub count: u32,
}

impl Owners {
    /// The same ids on disk as in the image.
    pub const IDENTITY: Self = Self::Shifted { offset: 0, count: u32::MAX };

    /// The id on disk of an image's id.
    pub fn to_disk(self, id: u32) -> Result<u32, OwnerError> {
        match self {
            Self::Recorded => Ok(0),
            Self::Shifted { offset, count } if id < count => {
                id.checked_add(offset).ok_or(OwnerError { id, count })
            }
            Self::Shifted { count, .. } => Err(OwnerError { id, count }),
        }
    }

    /// The image's id of an id on disk; [`NOBODY`] when it has none.
    pub fn from_disk(self, id: u32) -> u32 {
        match self {
            Self::Recorded => 0,
            Self::Shifted { offset, count } => {
                id.checked_sub(offset).filter(|shifted| *shifted < count).unwrap_or(NOBODY)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifted_ids_come_back() {
        let owners = Owners::Shifted { offset: 1, count: 65535 };
        assert_eq!(owners.to_disk(0), Ok(1));
        assert_eq!(owners.from_disk(1), 0);
        assert_eq!(owners.from_disk(0), NOBODY);
        assert_eq!(owners.to_disk(65535), Err(OwnerError { id: 65535, count: 65535 }));
        assert_eq!(Owners::Recorded.to_disk(7), Ok(0));
    }
}
