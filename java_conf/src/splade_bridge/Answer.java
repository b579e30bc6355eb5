package splade_bridge;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** Little-endian bytes that grow. */
final class Answer {
  private ByteBuffer bytes = ByteBuffer.allocate(256).order(ByteOrder.LITTLE_ENDIAN);

  private ByteBuffer room(int size) {
    if (bytes.remaining() < size) {
      int wanted = Math.addExact(bytes.position(), size);
      int larger = (int) Math.min(Integer.MAX_VALUE - 8, Math.max(wanted, 2L * bytes.capacity()));
      bytes = ByteBuffer.allocate(larger).order(ByteOrder.LITTLE_ENDIAN).put(bytes.flip());
    }
    return bytes;
  }

  int size() {
    return bytes.position();
  }

  Answer putByte(int value) {
    room(1).put((byte) value);
    return this;
  }

  Answer putInt(int value) {
    room(4).putInt(value);
    return this;
  }

  Answer putLong(long value) {
    room(8).putLong(value);
    return this;
  }

  Answer putFloat(float value) {
    room(4).putFloat(value);
    return this;
  }

  Answer putInts(int[] values, int n) {
    ByteBuffer room = room(4 * n);
    room.asIntBuffer().put(values, 0, n);
    room.position(room.position() + 4 * n);
    return this;
  }

  Answer put(byte[] value, int offset, int length) {
    room(length).put(value, offset, length);
    return this;
  }

  Answer put(byte[] value) {
    return put(value, 0, value.length);
  }

  /** Replace the int at {@code position}. */
  void setInt(int position, int value) {
    bytes.putInt(position, value);
  }

  byte[] array() {
    return bytes.array();
  }
}
