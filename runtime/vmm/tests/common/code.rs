//! Guest code, 32-bit.

/// `mov al, byte; mov dx, port; out dx, al`
pub(crate) fn out(port: u16, byte: u8) -> Vec<u8> {
    let [low, high] = port.to_le_bytes();
    vec![0xb0, byte, 0x66, 0xba, low, high, 0xee]
}

/// Switches off.
pub(crate) fn off() -> Vec<u8> {
    out(0x600, 0x34)
}

/// `mov dword [address], value`
pub(crate) fn store(address: u32, value: u32) -> Vec<u8> {
    [
        &[0xc7, 0x05][..],
        &address.to_le_bytes(),
        &value.to_le_bytes(),
    ]
    .concat()
}

/// Waits until the register or memory at the address is not 0, and prints its low
/// byte's lowest digit.
pub(crate) fn wait_and_print(address: u32) -> Vec<u8> {
    let mut code = vec![0xa1];
    code.extend(address.to_le_bytes());
    // test eax, eax; jz back
    code.extend([0x85, 0xc0, 0x74, 0xf7]);
    code.extend([0x24, 0x0f, 0x04, b'0', 0x66, 0xba, 0xf8, 0x03, 0xee]);
    code
}
