package splade_bridge;

import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.IntBuffer;
import java.util.ArrayList;
import java.util.List;
import org.apache.lucene.util.BytesRef;

/** Reads the stream that splade_bridge/engines/impact_stream.py writes, and checks its closing counts. */
final class Frames {
  private static final byte[] MAGIC = {'S', 'B', 'I', 'M', 'P', 'C', 'T', '1'};
  private static final int TERMS = 1;
  private static final int ROWS = 2;
  private static final int END = 3;

  /** Rows of impacts: row i has its terms at start[i] to start[i + 1]. */
  static final class Rows {
    byte[][] ids;
    int[] start;
    int[] terms;
    int[] impacts;
  }

  private final InputStream in;
  private final List<BytesRef> terms = new ArrayList<>();
  private long rows;
  private long postings;
  private long impactSum;

  Frames(InputStream in) throws IOException {
    this.in = in;
    byte[] magic = in.readNBytes(MAGIC.length);
    if (!java.util.Arrays.equals(magic, MAGIC)) {
      throw new IOException("the input is not an impact stream");
    }
  }

  BytesRef term(int id) {
    return terms.get(id);
  }

  /** The next rows, or null after a complete stream. */
  Rows next() throws IOException {
    while (true) {
      int kind = ints(1)[0];
      switch (kind) {
        case TERMS -> {
          int[] head = ints(2);
          for (byte[] term : strings(head[0], head[1])) {
            terms.add(new BytesRef(term));
          }
        }
        case ROWS -> {
          int[] head = ints(3);
          Rows block = new Rows();
          block.ids = strings(head[0], head[2]);
          block.start = offsets(ints(head[0]), head[1]);
          block.terms = ints(head[1]);
          block.impacts = ints(head[1]);
          for (int i = 0; i < head[1]; i++) {
            if (block.terms[i] < 0 || block.terms[i] >= terms.size() || block.impacts[i] < 1) {
              throw new IOException("posting with term " + block.terms[i] + " and impact " + block.impacts[i]);
            }
            impactSum += block.impacts[i];
          }
          rows += head[0];
          postings += head[1];
          return block;
        }
        case END -> {
          ByteBuffer end = bytes(24);
          long[] stated = {end.getLong(), end.getLong(), end.getLong()};
          if (stated[0] != rows || stated[1] != postings || stated[2] != impactSum) {
            throw new IOException(
                "received " + rows + " rows, " + postings + " postings, sum " + impactSum
                    + "; the sender counted " + java.util.Arrays.toString(stated));
          }
          return null;
        }
        default -> throw new IOException("unknown frame " + kind);
      }
    }
  }

  private byte[][] strings(int n, int total) throws IOException {
    int[] start = offsets(ints(n), total);
    byte[] blob = bytes(total).array();
    byte[][] out = new byte[n][];
    for (int i = 0; i < n; i++) {
      out[i] = java.util.Arrays.copyOfRange(blob, start[i], start[i + 1]);
    }
    return out;
  }

  private static int[] offsets(int[] lengths, int total) throws IOException {
    int[] start = new int[lengths.length + 1];
    for (int i = 0; i < lengths.length; i++) {
      start[i + 1] = Math.addExact(start[i], lengths[i]);
    }
    if (start[lengths.length] != total) {
      throw new IOException("lengths do not add up to " + total);
    }
    return start;
  }

  private int[] ints(int n) throws IOException {
    IntBuffer view = bytes(Math.multiplyExact(n, 4)).asIntBuffer();
    int[] out = new int[n];
    view.get(out);
    return out;
  }

  private ByteBuffer bytes(int n) throws IOException {
    byte[] content = in.readNBytes(n);
    if (content.length != n) {
      throw new EOFException("the stream ended early: the sender stopped");
    }
    return ByteBuffer.wrap(content).order(ByteOrder.LITTLE_ENDIAN);
  }
}
