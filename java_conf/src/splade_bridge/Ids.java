package splade_bridge;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.apache.lucene.index.BinaryDocValues;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.index.IndexWriter;
import org.apache.lucene.index.LeafReaderContext;
import org.apache.lucene.util.Bits;
import org.apache.lucene.util.BytesRef;

/** The ids of all documents in memory: stored fields would cost more than the search. */
final class Ids {
  private final byte[][] blobs;
  private final int[][] starts;
  private final int[] bases;

  Ids(DirectoryReader reader) throws IOException {
    int leaves = reader.leaves().size();
    blobs = new byte[leaves][];
    starts = new int[leaves][];
    bases = new int[leaves];
    for (LeafReaderContext leaf : reader.leaves()) {
      bases[leaf.ord] = leaf.docBase;
      BinaryDocValues values = leaf.reader().getBinaryDocValues("id");
      int[] start = new int[leaf.reader().maxDoc() + 1];
      byte[] blob = new byte[1 << 16];
      for (int document = 0; document < leaf.reader().maxDoc(); document++) {
        start[document + 1] = start[document];
        if (values != null && values.advanceExact(document)) {
          BytesRef id = values.binaryValue();
          start[document + 1] = Math.addExact(start[document], id.length);
          if (start[document + 1] > blob.length) {
            blob = Arrays.copyOf(blob, (int) Math.min(Integer.MAX_VALUE - 8, 2L * start[document + 1]));
          }
          System.arraycopy(id.bytes, id.offset, blob, start[document], id.length);
        }
      }
      blobs[leaf.ord] = blob;
      starts[leaf.ord] = start;
    }
  }

  /**
   * What a run cannot hold among the ids of live documents: how many documents have none, have one
   * with white space, NUL or bytes that are no UTF-8, or one that another document has; and an
   * example of the last two.
   */
  void check(DirectoryReader reader, Answer answer) {
    int missing = 0;
    int odd = 0;
    byte[] oddOne = {};
    int[] live = new int[reader.numDocs()];
    int n = 0;
    for (LeafReaderContext context : reader.leaves()) {
      Bits alive = context.reader().getLiveDocs();
      for (int i = 0; i < context.reader().maxDoc(); i++) {
        int document = context.docBase + i;
        if (alive != null && !alive.get(i)) {
          continue;
        }
        if (length(document) == 0) {
          missing++;
          continue;
        }
        if (!isHeldByRuns(bytes(document))) {
          oddOne = odd++ == 0 ? bytes(document) : oddOne;
        }
        live[n++] = document;
      }
    }
    // Equal ids have equal hashes: only where two are equal are the ids themselves compared.
    long[] keys = new long[n];
    for (int i = 0; i < n; i++) {
      keys[i] = (long) Arrays.hashCode(bytes(live[i])) << 32 | i;
    }
    Arrays.sort(keys);
    int twice = 0;
    byte[] twiceOne = {};
    for (int first = 0, next; first < n; first = next) {
      next = first + 1;
      while (next < n && keys[next] >> 32 == keys[first] >> 32) {
        next++;
      }
      if (next - first > 1) {
        Integer[] same = new Integer[next - first];
        for (int i = 0; i < same.length; i++) {
          same[i] = live[(int) keys[first + i]];
        }
        Arrays.sort(same, this::compare);
        for (int i = 1; i < same.length; i++) {
          if (compare(same[i - 1], same[i]) == 0) {
            twiceOne = twice++ == 0 ? bytes(same[i]) : twiceOne;
          }
        }
      }
    }
    answer.putLong(missing).putLong(odd).putLong(twice);
    answer.putInt(2).putInt(oddOne.length).put(oddOne).putInt(twiceOne.length).put(twiceOne);
  }

  /** As splade_bridge/data/ids.py has it; the length is at most that of a term of Lucene. */
  private static boolean isHeldByRuns(byte[] id) {
    String name = new String(id, StandardCharsets.UTF_8);
    return id.length <= IndexWriter.MAX_TERM_LENGTH
        && Arrays.equals(name.getBytes(StandardCharsets.UTF_8), id)
        && name.codePoints()
            .noneMatch(
                c -> c == 0 || c == 0x85 || Character.isWhitespace(c) || Character.isSpaceChar(c));
  }

  private byte[] bytes(int document) {
    int leaf = leaf(document);
    int local = document - bases[leaf];
    return Arrays.copyOfRange(blobs[leaf], starts[leaf][local], starts[leaf][local + 1]);
  }

  private int leaf(int document) {
    int found = Arrays.binarySearch(bases, document);
    return found >= 0 ? found : -found - 2;
  }

  int length(int document) {
    int leaf = leaf(document);
    int local = document - bases[leaf];
    return starts[leaf][local + 1] - starts[leaf][local];
  }

  void put(int document, Answer out) {
    int leaf = leaf(document);
    int local = document - bases[leaf];
    out.put(blobs[leaf], starts[leaf][local], starts[leaf][local + 1] - starts[leaf][local]);
  }

  /** Byte order of UTF-8, as Anserini breaks ties. */
  int compare(int a, int b) {
    int leafA = leaf(a);
    int leafB = leaf(b);
    int localA = a - bases[leafA];
    int localB = b - bases[leafB];
    return Arrays.compareUnsigned(
        blobs[leafA], starts[leafA][localA], starts[leafA][localA + 1],
        blobs[leafB], starts[leafB][localB], starts[leafB][localB + 1]);
  }
}
