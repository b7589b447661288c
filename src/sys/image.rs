//! The main executable's image in memory: where it lies, and which build it is.

use std::ffi::c_void;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

/// The main executable as the dynamic loader mapped it.
pub(crate) struct Image {
    /// Where address 0 of the file lies.
    pub(crate) base: usize,
    /// What is mapped from it.
    pub(crate) segments: Vec<Range<usize>>,
    /// The same for two processes exactly if they run the same build.
    pub(crate) build_id: BuildId,
}

/// Identifies a build: the linker's note, or a hash of the file's identity where there is none.
pub(crate) type BuildId = u128;

impl Image {
    /// The image of this process; found once.
    pub(crate) fn own() -> &'static Image {
        static IMAGE: OnceLock<Image> = OnceLock::new();
        IMAGE.get_or_init(Image::find)
    }

    /// Whether `length` bytes at `address` lie inside the image.
    pub(crate) fn contains(&self, address: usize, length: usize) -> bool {
        let Some(end) = address.checked_add(length) else { return false };
        self.segments.iter().any(|segment| segment.start <= address && end <= segment.end)
    }

    fn find() -> Image {
        let mut found = Found { base: 0, segments: Vec::new(), note: None };
        // SAFETY: the callback has the right type, and `found` outlives the call, which uses it from this
        // thread alone.
        unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut found).cast::<c_void>()) };
        let build_id = found.note.unwrap_or_else(hash_of_the_file);
        Image { base: found.base, segments: found.segments, build_id }
    }
}

struct Found {
    base: usize,
    segments: Vec<Range<usize>>,
    note: Option<BuildId>,
}

/// Reads the first object, which is the main executable, and stops.
unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, _: libc::size_t, data: *mut c_void) -> libc::c_int {
    // SAFETY: `data` is the `Found` that `find` passed.
    let found = unsafe { &mut *data.cast::<Found>() };
    // SAFETY: the loader passes a valid description.
    let info = unsafe { &*info };
    found.base = info.dlpi_addr as usize;
    // SAFETY: the loader's table has dlpi_phnum entries.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    for header in headers {
        let start = found.base + header.p_vaddr as usize;
        let range = start..start + header.p_memsz as usize;
        match header.p_type {
            libc::PT_LOAD => found.segments.push(range),
            libc::PT_NOTE if found.note.is_none() => {
                // SAFETY: the loader mapped this segment, readable, for the life of the process.
                let bytes = unsafe { std::slice::from_raw_parts(range.start as *const u8, range.len()) };
                found.note = build_id_note(bytes);
            }
            _ => {}
        }
    }
    1
}

/// Finds `NT_GNU_BUILD_ID` among notes: three words (name length, content length, type), then both, padded.
fn build_id_note(mut notes: &[u8]) -> Option<BuildId> {
    const NT_GNU_BUILD_ID: u32 = 3;
    while notes.len() >= 12 {
        let word = |at: usize| u32::from_ne_bytes([notes[at], notes[at + 1], notes[at + 2], notes[at + 3]]);
        let (name_length, length, kind) = (word(0) as usize, word(4) as usize, word(8));
        let content = 12 + name_length.next_multiple_of(4);
        let name = notes.get(12..12 + name_length)?;
        let bytes = notes.get(content..content.checked_add(length)?)?;
        if kind == NT_GNU_BUILD_ID && name == b"GNU\0" {
            return Some(hash(bytes));
        }
        notes = notes.get(content + length.next_multiple_of(4)..)?;
    }
    None
}

/// Device, inode, size and time of change tell builds apart where the linker wrote no note.
fn hash_of_the_file() -> BuildId {
    let Ok(file) = std::fs::metadata("/proc/self/exe") else { return 0 };
    let fields = [file.dev(), file.ino(), file.size(), file.mtime() as u64, file.mtime_nsec() as u64];
    hash(&fields.map(u64::to_le_bytes).concat())
}

/// FNV-1a of 128 bits: these are identities, not secrets.
pub(crate) fn hash(bytes: &[u8]) -> u128 {
    let step = |hash: u128, byte: &u8| {
        (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    };
    bytes.iter().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_constants_of_this_executable_lie_in_its_image() {
        static CONSTANT: &str = "somewhere in the read-only part";
        let image = Image::own();
        assert!(image.contains(CONSTANT.as_ptr() as usize, CONSTANT.len()));
        assert!(image.contains(build_id_note as *const () as usize, 1));
        let on_the_heap = Box::new(0_u64);
        assert!(!image.contains(std::ptr::from_ref(&*on_the_heap) as usize, 8));
        assert!(!image.contains(usize::MAX - 3, 8));
    }

    #[test]
    fn the_build_id_is_found_behind_other_notes() {
        let mut notes = Vec::new();
        for (kind, content) in [(1_u32, &b"abc"[..]), (3, &b"0123456789"[..])] {
            notes.extend([4_u32, content.len() as u32, kind].map(u32::to_ne_bytes).concat());
            notes.extend(b"GNU\0");
            notes.extend(content);
            notes.resize(notes.len().next_multiple_of(4), 0);
        }
        assert_eq!(build_id_note(&notes), Some(hash(b"0123456789")));
        assert_eq!(build_id_note(&notes[..20]), None);
        assert_eq!(build_id_note(&[0xff; 64]), None);
    }
}
