//! The files that are dropped on the drive of a Pico or a Pico 2.

use std::fs;
use std::path::Path;
use std::process::Command;

use mote_test_support::elf::Elf;
use mote_test_support::{need, qemu, root, run};
use tempfile::TempDir;

#[test]
fn the_file_for_drag_and_drop_holds_the_image() {
    // The family of the chip, by its maker.
    for (target, family) in [
        ("thumbv6m-none-eabi", 0xE48B_FF56),
        ("thumbv8m.main-none-eabihf", 0xE48B_FF59),
    ] {
        let image = qemu::image_named("mote-pico", target, "uart");
        if let Some(image) = need("pico", image) {
            assert_holds(&image, family);
        }
    }
}

/// A file that is made of the image has all of it, and each byte once.
fn assert_holds(image: &Path, family: u32) {
    const FLASH: u32 = 0x1000_0000;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("uart.uf2");
    let script = root().join("firmware/boards/pico/uf2");
    run(Command::new(script).arg(image).arg(&file)).unwrap();

    // A block has 512 bytes: its address and length, its number and their count, the family (UF2
    // specification, "File format").
    let blocks = fs::read(&file).unwrap();
    let (blocks, rest) = blocks.as_chunks::<512>();
    assert!(rest.is_empty());
    let word =
        |block: &[u8; 512], at: usize| u32::from_le_bytes(block[at..at + 4].try_into().unwrap());
    let mut flash = vec![None; 64 * 1024];
    for (number, block) in blocks.iter().enumerate() {
        let header: Vec<u32> = (0..8).map(|index| word(block, 4 * index)).collect();
        let address = header[3];
        let expected = [
            0x0A32_4655,
            0x9E5D_5157,
            0x2000,
            address,
            256,
            number as u32,
            blocks.len() as u32,
            family,
        ];
        assert_eq!(header, expected);
        assert_eq!(word(block, 508), 0x0AB1_6F30);
        assert_eq!(address % 256, 0);
        for (byte, at) in block[32..32 + 256].iter().zip(address - FLASH..) {
            assert_eq!(flash[at as usize].replace(*byte), None);
        }
    }
    let mut loaded = 0;
    for (address, bytes) in Elf::read(image).segments() {
        for (byte, at) in bytes.iter().zip(address - FLASH..) {
            assert_eq!(flash[at as usize], Some(*byte), "{at:#x}");
            loaded += 1;
        }
    }
    assert!(loaded > 10_000);
    assert!(blocks.len() * 256 < loaded + 4 * 256);
}
