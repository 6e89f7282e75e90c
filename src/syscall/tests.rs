use super::*;

#[test]
fn the_displayed_text_of_a_call_is_read_back_on_every_arch() {
    let x32 = 0x4000_0000;
    let far = [i32::MIN, -5, -1, 100_000, x32, x32 + 5, i32::MAX];
    for &arch in Arch::ALL {
        for nr in (0..7_000).chain(far) {
            let syscall = Syscall { arch, nr };
            let text = syscall.to_string();
            assert_eq!(Syscall::parse(arch, &text), Ok(syscall), "{arch} {text}");
        }
    }
}

#[test]
fn names_are_those_of_the_kernel() {
    let name = |arch, nr| Syscall { arch, nr }.to_string();
    assert_eq!(name(Arch::Aarch64, 79), "newfstatat");
    assert_eq!(name(Arch::Loongarch64, 79), "newfstatat");
    assert_eq!(name(Arch::Aarch64, 403), "#403");
    assert_eq!(name(Arch::X86, 17), "break");
    assert_eq!(name(Arch::Mips, 4018), "#4018");
    assert_eq!(Syscall::from_name(Arch::Aarch64, "fstatat"), None);
    assert_eq!(Syscall::from_name(Arch::Aarch64, "futex_time64"), None);
    let found = Syscall::from_name(Arch::Aarch64, "newfstatat");
    assert_eq!(found.map(|call| call.nr), Some(79));
    let found = Syscall::from_name(Arch::Mips, "break");
    assert_eq!(found.map(|call| call.nr), Some(4017));
}

#[test]
fn a_name_is_that_of_libseccomp_where_it_knows_the_number() {
    for &arch in Arch::ALL {
        let Some(scmp) = arch.scmp() else { continue };
        for nr in 0..7000 {
            let syscall = Syscall { arch, nr };
            let Some(name) = syscall.name() else { continue };
            let theirs = ScmpSyscall::from_raw_syscall(syscall.audit_nr()).get_name_by_arch(scmp);
            if let Ok(theirs) = theirs {
                assert_eq!(name, theirs, "{arch} {nr}");
            }
        }
    }
}

#[test]
fn spellings_of_every_arch_are_read_back() {
    for &arch in Arch::ALL {
        assert_eq!(arch.name().parse(), Ok(arch));
        if let Some(name) = arch.oci_name() {
            assert_eq!(Arch::from_oci_name(name), Some(arch));
        }
        if arch != Arch::X32 {
            assert_eq!(Arch::from_audit(arch.audit()), Some(arch));
        }
    }
}

#[test]
fn architectures_are_found_by_their_common_names() {
    let check = |text, arch| assert_eq!(Arch::from_any_name(text), arch, "{text}");
    check("x86_64", Some(Arch::X86_64));
    check("AMD64", Some(Arch::X86_64));
    check("SCMP_ARCH_X32", Some(Arch::X32));
    check("c000003e", Some(Arch::X86_64));
    check("0x40000003", Some(Arch::X86));
    check("arm64", Some(Arch::Aarch64));
    check("i686", Some(Arch::X86));
    check("vax", None);
    check("", None);
}

#[test]
fn x32_has_its_bit_set_and_negative_numbers_are_not_x32() {
    let audit = Arch::X86_64.audit();
    let of = |nr| {
        let call = Syscall::from_audit(audit, nr).unwrap();
        format!("{} {} {call}", call.arch, call.nr)
    };
    assert_eq!(of(0), "x86_64 0 read");
    assert_eq!(of(X32_SYSCALL_BIT | 1), "x32 1 write");
    assert_eq!(of(X32_SYSCALL_BIT + 520), "x32 520 execve");
    assert_eq!(of(-5), "x86_64 -5 #-5");
    assert_eq!(of(100_000), "x86_64 100000 #100000");
    assert_eq!(Syscall::from_audit(0xdead_beef, 0), None);
}

#[test]
fn a_name_of_another_abi_is_not_a_pseudo_number() {
    assert_eq!(Syscall::from_name(Arch::X86_64, "socketcall"), None);
    assert_eq!(Syscall::from_name(Arch::Aarch64, "open"), None);
    let (arch, nr) = (Arch::X86, -5);
    assert_eq!(Syscall::parse(arch, "#-5"), Ok(Syscall { arch, nr }));
    assert!(Syscall::parse(Arch::X86, "#x").is_err());
}
