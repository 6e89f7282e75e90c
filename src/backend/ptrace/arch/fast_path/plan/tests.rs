use memchr::memmem;

use super::*;

/// The plans for every eighth call in the code of a file.
fn plans(path: &str) -> Vec<(u64, Option<Plan>)> {
    let mut image = Image::open(File::open(path).unwrap()).unwrap();
    let mut calls = Vec::new();
    for segment in image.elf.segments.iter().filter(|segment| segment.is_code) {
        let bytes = image.elf.read_range(&segment.addresses).unwrap();
        let found = memmem::find_iter(&bytes, &SYSCALL);
        calls.extend(found.map(|at| segment.addresses.start + at as u64));
    }
    let calls = calls.into_iter().step_by(8);
    calls.map(|call| (call, image.plan(call))).collect()
}

#[test]
fn most_calls_of_the_c_library_have_a_plan() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let libc = maps
        .split_ascii_whitespace()
        .find(|path| path.ends_with("/libc.so.6"));
    let plans = plans(libc.unwrap());
    let caves: Vec<_> = plans
        .iter()
        .filter_map(|(call, plan)| match plan {
            Some(Plan::Cave { address, padding }) => Some((*call, *address, *padding)),
            _ => None,
        })
        .collect();
    assert!(
        caves.len() * 2 > plans.len(),
        "{} of {}",
        caves.len(),
        plans.len()
    );
    for (at, (call, cave, padding)) in caves.iter().enumerate() {
        assert!(i8::try_from(cave.wrapping_sub(call + 2).cast_signed()).is_ok());
        assert_eq!([cave / 4096, (cave + JUMP - 1) / 4096], [call / 4096; 2]);
        assert!(decode(padding, *cave).is_none_or(|all| all.iter().all(is_nop)));
        let is_apart = |(_, other, _): &(u64, u64, _)| other.abs_diff(*cave) >= JUMP;
        assert!(caves[at + 1..].iter().all(is_apart), "{cave:#x}");
    }
}

/// What is moved of these instructions before a call, and whether it may be.
fn movable(code: &[u8]) -> bool {
    let instructions = decode(code, 0x1000).unwrap();
    can_move(&instructions[0])
        .is_some_and(|(writes, reads)| writes != Register::RSP && !reads.contains(&Register::RAX))
}

#[test]
fn only_what_can_be_executed_elsewhere_and_again_is_moved() {
    let check = |code: &[u8], expected| assert_eq!(movable(code), expected, "{code:x?}");
    // mov $39,%eax
    check(&[0xb8, 0x27, 0, 0, 0], true);
    // mov $39,%ecx; mov %rdi,%rcx; mov %r11,%rdi
    check(&[0xb9, 0x27, 0, 0, 0], false);
    check(&[0x48, 0x89, 0xf9], false);
    check(&[0x4c, 0x89, 0xdf], false);
    // xor %edi,%edi; xor %esi,%edi
    check(&[0x31, 0xff], true);
    check(&[0x31, 0xf7], false);
    // mov %rdx,%r10; mov %rax,%rdi; mov %rdi,%rsp
    check(&[0x49, 0x89, 0xd2], true);
    check(&[0x48, 0x89, 0xc7], false);
    check(&[0x48, 0x89, 0xfc], false);
    // lea 8(%rsp),%rsi; lea 8(%rip),%rsi
    check(&[0x48, 0x8d, 0x74, 0x24, 0x08], true);
    check(&[0x48, 0x8d, 0x35, 8, 0, 0, 0], false);
    // mov (%rdi),%rsi; mov %rsi,(%rdi); call; push %rax; add $1,%edi
    check(&[0x48, 0x8b, 0x37], false);
    check(&[0x48, 0x89, 0x37], false);
    check(&[0xe8, 0, 0, 0, 0], false);
    check(&[0x50], false);
    check(&[0x83, 0xc7, 0x01], false);
}

#[test]
fn padding_is_a_cave_only_behind_what_ends() {
    let ends = |code: &[u8]| decode(code, 0x1000).unwrap().last().is_some_and(ends_path);
    // ret; jmp; ud2; and mov %rdi,%rsi; je
    assert!(ends(&[0xc3]) && ends(&[0xeb, 0xfe]) && ends(&[0x0f, 0x0b]));
    assert!(!ends(&[0x48, 0x89, 0xfe]) && !ends(&[0x74, 0x00]));
    let padding = |code: &[u8]| decode(code, 0x1000).is_some_and(|all| all.iter().all(is_nop));
    // nopw %cs:0(%rax,%rax,1); int3; endbr64; nothing valid
    assert!(padding(&[
        0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0, 0xcc, 0x90
    ]));
    assert!(!padding(&[0xf3, 0x0f, 0x1e, 0xfa, 0x90]) && !padding(&[0x06]));
}

#[test]
fn branches_with_long_distances_are_found() {
    let check = |code: &[u8], expected: &[u32]| assert_eq!(branch_targets(code), expected);
    // call +1; jmp -5; je +0; setne %al; and those that lead elsewhere or aren't complete
    check(&[0xe8, 1, 0, 0, 0, 0x90, 0x90], &[6]);
    check(&[0xe9, 0xfb, 0xff, 0xff, 0xff], &[0]);
    check(&[0x0f, 0x84, 0, 0, 0, 0, 0xc3], &[6]);
    check(&[0x0f, 0x95, 0, 0, 0, 0, 0xc3], &[]);
    check(&[0xe9, 0xfa, 0xff, 0xff, 0xff, 0xe8, 0, 0, 0], &[]);
    check(&[0xe9, 0, 0, 0, 0], &[]);
}

#[test]
fn a_call_that_is_branched_to_is_not_moved() {
    // The first 4 KiB of a segment: call 0x1006 at 0x1800; jne 0x1010 at 0x1020; ret.
    let mut code = vec![0x90; 0x1000];
    code[0x800..0x805].copy_from_slice(&[0xe8, 0x01, 0xf8, 0xff, 0xff]);
    code[0x20..0x22].copy_from_slice(&[0x75, 0xee]);
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, &elf_with(&code)).unwrap();
    let mut image = Image::open(file).unwrap();
    let check = |image: &mut Image, targets, expected| {
        assert_eq!(image.is_branched_to(targets, &[]), Some(expected));
    };
    check(&mut image, 0x1006..0x1007, true);
    check(&mut image, 0x1010..0x1012, true);
    check(&mut image, 0x1002..0x1006, false);
    check(&mut image, 0x1007..0x1010, false);
    check(&mut image, 0x1011..0x1020, false);

    // In the function itself, only branches are: cmp $0x75,%eax; js; and jne with a prefix.
    let cases: [(&[u8], bool); 3] = [
        (&[0x83, 0xf8, 0x75, 0x78, 0x10], false),
        (&[0x90, 0x90, 0x75, 0x78], true),
        (&[0x90, 0x2e, 0x75, 0x78], true),
    ];
    for (code, expected) in cases {
        let mut code = code.to_vec();
        code.resize(0x1000, 0x90);
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, &elf_with(&code)).unwrap();
        let mut image = Image::open(file).unwrap();
        let function = decode(&code[..0x40], 0x1000).unwrap();
        let target = 0x1004 + 0x78..0x1005 + 0x78;
        assert_eq!(
            image.is_branched_to(target.clone(), &[]),
            Some(true),
            "{code:x?}"
        );
        assert_eq!(image.is_branched_to(target, &function), Some(expected));
    }
}

/// An ELF file with one segment of code, at 0x1000.
fn elf_with(code: &[u8]) -> Vec<u8> {
    let (header, entry) = (64_usize, 56_usize);
    let mut file = vec![0; header + entry];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file[18] = 62;
    file[32] = 64;
    file[54] = 56;
    file[56] = 1;
    let mut put = |at: usize, value: usize| {
        file[header + at..header + at + 8].copy_from_slice(&value.to_le_bytes());
    };
    // PT_LOAD, PF_R | PF_X
    put(0, 1 | 5 << 32);
    put(8, header + entry);
    put(16, 0x1000);
    put(32, code.len());
    put(40, code.len());
    file.extend(code);
    file
}
