package splade_bridge;

import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.IntBuffer;
import java.util.Arrays;
import org.apache.lucene.util.BytesRef;

/** Reads the stream that splade_bridge/engines/list_stream.py writes, and checks its closing counts. */
final class Frames {
  private static final byte[] MAGIC = {'S', 'B', 'L', 'I', 'S', 'T', 'S', '1'};
  private static final int IDS = 1;
  private static final int LISTS = 2;
  private static final int END = 3;

  /** Posting lists: that of term i has its documents and impacts at start[i] to start[i + 1]. */
  static final class Lists {
    BytesRef[] terms;
    int[] start;
    int[] documents;
    int[] impacts;
  }

  private final InputStream in;
  private int waiting; // the kind of a frame of which no more has been read
  private long documents;
  private long postings;
  private long impactSum;

  Frames(InputStream in) throws IOException {
    this.in = in;
    if (!Arrays.equals(in.readNBytes(MAGIC.length), MAGIC)) {
      throw new IOException("the input is no stream of posting lists");
    }
    waiting = ints(1)[0];
  }

  /** The next ids, or null where the lists begin. */
  byte[][] ids() throws IOException {
    if (waiting != IDS) {
      return null;
    }
    int[] head = ints(2);
    byte[][] ids = strings(head[0], head[1]);
    documents += ids.length;
    waiting = ints(1)[0];
    return ids;
  }

  /** The next lists, the first of which may go on with the last one; null after a whole stream. */
  Lists lists() throws IOException {
    if (waiting == END) {
      ByteBuffer end = bytes(24);
      long[] stated = {end.getLong(), end.getLong(), end.getLong()};
      if (stated[0] != documents || stated[1] != postings || stated[2] != impactSum) {
        throw new IOException(
            "received " + documents + " documents, " + postings + " postings, sum " + impactSum
                + "; the sender counted " + Arrays.toString(stated));
      }
      return null;
    }
    if (waiting != LISTS) {
      throw new IOException("frame " + waiting + " where lists are to be");
    }
    int[] head = ints(3);
    Lists block = new Lists();
    byte[][] terms = strings(head[0], head[2]);
    block.terms = new BytesRef[terms.length];
    for (int i = 0; i < terms.length; i++) {
      block.terms[i] = new BytesRef(terms[i]);
    }
    block.start = offsets(ints(head[0]), head[1]);
    block.documents = ints(head[1]);
    block.impacts = ints(head[1]);
    for (int impact : block.impacts) {
      impactSum += impact;
    }
    postings += head[1];
    waiting = ints(1)[0];
    return block;
  }

  private byte[][] strings(int n, int total) throws IOException {
    int[] start = offsets(ints(n), total);
    byte[] blob = bytes(total).array();
    byte[][] out = new byte[n][];
    for (int i = 0; i < n; i++) {
      out[i] = Arrays.copyOfRange(blob, start[i], start[i + 1]);
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
