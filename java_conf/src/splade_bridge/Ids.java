package splade_bridge;

import java.io.IOException;
import java.util.Arrays;
import org.apache.lucene.index.BinaryDocValues;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.index.LeafReaderContext;
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
      if (values == null) {
        throw new IOException("the index has no doc values for id: rebuild it with a newer Anserini");
      }
      int[] start = new int[leaf.reader().maxDoc() + 1];
      byte[] blob = new byte[1 << 16];
      for (int document = 0; document < leaf.reader().maxDoc(); document++) {
        start[document + 1] = start[document];
        if (values.advanceExact(document)) {
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
