//! A serial port over USB (CDC ACM) as the line to the gateway. While nobody has it open, both directions just
//! wait; the node samples on.

use core::convert::Infallible;

use embassy_rp::Peri;
use embassy_rp::interrupt::typelevel::{Binding, USBCTRL_IRQ};
use embassy_rp::peripherals::USB;
use embassy_rp::usb::{Driver, InterruptHandler};
use embassy_usb::class::cdc_acm::{CdcAcmClass, ControlChanged, Receiver, Sender, State};
use embassy_usb::{Builder, Config, UsbDevice};
use embedded_io_async::{ErrorType, Read, Write};

/// Full speed allows no larger packets.
const PACKET: usize = 64;

/// What the port keeps for as long as it is there.
pub struct Buffers {
    state: State<'static>,
    configuration: [u8; 96],
    control: [u8; 64],
}

/// The device, of which `run` must be running for the port to work.
pub type Device = UsbDevice<'static, Driver<'static, USB>>;

/// Reads what the host writes.
pub struct UsbReader {
    receiver: Receiver<'static, Driver<'static, USB>>,
    packet: [u8; PACKET],
    taken: usize,
    length: usize,
}

/// Writes what the host reads.
pub struct UsbWriter {
    sender: Sender<'static, Driver<'static, USB>>,
    control: ControlChanged<'static>,
}

impl Buffers {
    /// Not in use yet.
    pub const fn new() -> Self {
        Buffers {
            state: State::new(),
            configuration: [0; 96],
            control: [0; 64],
        }
    }
}

impl Default for Buffers {
    fn default() -> Self {
        Self::new()
    }
}

/// A serial port that shows as `usb-mote_Pico_SERIAL-if00` below `/dev/serial/by-id`.
pub fn port(
    usb: Peri<'static, USB>,
    irqs: impl Binding<USBCTRL_IRQ, InterruptHandler<USB>>,
    buffers: &'static mut Buffers,
    serial: &'static str,
) -> (Device, UsbReader, UsbWriter) {
    // pid.codes keeps this number for tests of all kinds; a product needs one of its own.
    let mut config = Config::new(0x1209, 0x0001);
    config.manufacturer = Some("mote");
    config.product = Some("Pico");
    config.serial_number = Some(serial);
    config.max_power = 100;
    let mut builder = Builder::new(
        Driver::new(usb, irqs),
        config,
        &mut buffers.configuration,
        &mut [],
        &mut [],
        &mut buffers.control,
    );
    let class = CdcAcmClass::new(&mut builder, &mut buffers.state, PACKET as u16);
    let (sender, receiver, control) = class.split_with_control();
    let reader = UsbReader {
        receiver,
        packet: [0; PACKET],
        taken: 0,
        length: 0,
    };
    (builder.build(), reader, UsbWriter { sender, control })
}

impl ErrorType for UsbReader {
    type Error = Infallible;
}

impl Read for UsbReader {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        while self.taken >= self.length {
            // Without a host the driver would give empty packets one after the other.
            self.receiver.wait_connection().await;
            self.taken = 0;
            self.length = 0;
            self.length = self
                .receiver
                .read_packet(&mut self.packet)
                .await
                .unwrap_or(0);
        }
        let rest = self.packet.get(self.taken..self.length).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(rest) {
            *to = *from;
        }
        self.taken += length;
        Ok(length)
    }
}

impl ErrorType for UsbWriter {
    type Error = Infallible;
}

impl Write for UsbWriter {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        // A host takes a full packet for the beginning of something longer, and waits.
        let bytes = bytes.get(..PACKET - 1).unwrap_or(bytes);
        loop {
            self.sender.wait_connection().await;
            if !self.sender.dtr() {
                self.control.control_changed().await;
            } else if self.sender.write_packet(bytes).await.is_ok() {
                return Ok(bytes.len());
            }
        }
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
