//! Which arguments of which calls are paths or names: what the kernel side reads when somebody traces.

#![expect(clippy::indexing_slicing, reason = "the compiler does it, and would stop")]

use super::NUMBERS;

/// Bits of arguments, by number; the 32-bit ABI's behind the native ones.
pub const TEXT_ARGS: [u8; 2 * NUMBERS as usize] = {
    let mut args = [0; 2 * NUMBERS as usize];
    let mut lists: [(&[(usize, u8)], usize); 3] = [(NATIVE, 0), (COMPAT, NUMBERS as usize), (COMMON, 0)];
    let mut list = 0;
    while list < lists.len() {
        let (calls, base) = lists[list];
        let mut index = 0;
        while index < calls.len() {
            args[base + calls[index].0] = calls[index].1;
            index += 1;
        }
        // Both ABIs number newer calls alike.
        if list == 2 && base == 0 {
            lists[2].1 = NUMBERS as usize;
        } else {
            list += 1;
        }
    }
    args
};

const A0: u8 = 1;
const A1: u8 = 2;
const A2: u8 = 4;
const A3: u8 = 8;
const A4: u8 = 16;

/// open stat lstat access execve truncate chdir rename mkdir rmdir creat link unlink symlink readlink chmod chown lchown
/// utime mknod statfs pivot_root chroot mount umount2 swapon swapoff *xattr utimes inotify_add_watch *at fanotify_mark
/// name_to_handle_at renameat2 memfd_create execveat statx
const NATIVE: &[(usize, u8)] = &[
    (2, A0),
    (4, A0),
    (6, A0),
    (21, A0),
    (59, A0),
    (76, A0),
    (80, A0),
    (82, A0 | A1),
    (83, A0),
    (84, A0),
    (85, A0),
    (86, A0 | A1),
    (87, A0),
    (88, A0 | A1),
    (89, A0),
    (90, A0),
    (92, A0),
    (94, A0),
    (132, A0),
    (133, A0),
    (137, A0),
    (155, A0 | A1),
    (161, A0),
    (165, A0 | A1),
    (166, A0),
    (167, A0),
    (168, A0),
    (188, A0 | A1),
    (189, A0 | A1),
    (191, A0 | A1),
    (192, A0 | A1),
    (194, A0),
    (195, A0),
    (197, A0 | A1),
    (198, A0 | A1),
    (235, A0),
    (254, A1),
    (257, A1),
    (258, A1),
    (259, A1),
    (260, A1),
    (261, A1),
    (262, A1),
    (263, A1),
    (264, A1 | A3),
    (265, A1 | A3),
    (266, A0 | A2),
    (267, A1),
    (268, A1),
    (269, A1),
    (280, A1),
    (301, A4),
    (303, A1),
    (316, A1 | A3),
    (319, A0),
    (322, A1),
    (332, A1),
];

/// open creat link unlink execve chdir mknod chmod lchown mount umount access rename mkdir rmdir chroot symlink readlink
/// truncate statfs stat lstat truncate64 stat64 lstat64 chown32 lchown32 statfs64 utimes *at renameat2 memfd_create
/// execveat statx
const COMPAT: &[(usize, u8)] = &[
    (5, A0),
    (8, A0),
    (9, A0 | A1),
    (10, A0),
    (11, A0),
    (12, A0),
    (14, A0),
    (15, A0),
    (16, A0),
    (21, A0 | A1),
    (22, A0),
    (33, A0),
    (38, A0 | A1),
    (39, A0),
    (40, A0),
    (61, A0),
    (83, A0 | A1),
    (85, A0),
    (92, A0),
    (99, A0),
    (106, A0),
    (107, A0),
    (193, A0),
    (195, A0),
    (196, A0),
    (198, A0),
    (212, A0),
    (268, A0),
    (271, A0),
    (295, A1),
    (296, A1),
    (297, A1),
    (298, A1),
    (299, A1),
    (300, A1),
    (301, A1),
    (302, A1 | A3),
    (303, A1 | A3),
    (304, A0 | A2),
    (305, A1),
    (306, A1),
    (307, A1),
    (320, A1),
    (353, A1 | A3),
    (356, A0),
    (358, A1),
    (383, A1),
];

/// open_tree move_mount openat2 faccessat2 mount_setattr fchmodat2
const COMMON: &[(usize, u8)] = &[(428, A1), (429, A1 | A3), (437, A1), (439, A1), (442, A1), (452, A1)];

const _: () = assert!(TEXT_ARGS[257] == A1 && TEXT_ARGS[NUMBERS as usize + 5] == A0);
const _: () = assert!(TEXT_ARGS[437] == A1 && TEXT_ARGS[NUMBERS as usize + 437] == A1);
