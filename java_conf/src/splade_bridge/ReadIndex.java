package splade_bridge;

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.index.LeafReaderContext;
import org.apache.lucene.index.MultiTerms;
import org.apache.lucene.index.PostingsEnum;
import org.apache.lucene.index.Term;
import org.apache.lucene.index.Terms;
import org.apache.lucene.index.TermsEnum;
import org.apache.lucene.search.DocIdSetIterator;
import org.apache.lucene.store.FSDirectory;
import org.apache.lucene.util.BytesRef;

/** Reads counts, terms and single impacts back from an index. */
final class ReadIndex {
  private ReadIndex() {}

  static DirectoryReader open(String path) throws IOException {
    return DirectoryReader.open(FSDirectory.open(Path.of(path)));
  }

  /** One JSON object: documents, postings, impact_sum, terms, distinct ids. */
  static void stats(String path) throws IOException {
    try (DirectoryReader reader = open(path)) {
      Terms contents = MultiTerms.getTerms(reader, "contents");
      Terms ids = MultiTerms.getTerms(reader, "id");
      System.out.printf(
          "{\"documents\":%d,\"postings\":%d,\"impact_sum\":%d,\"terms\":%d,\"ids\":%d}%n",
          reader.numDocs(),
          contents == null ? 0 : contents.getSumDocFreq(),
          contents == null ? 0 : contents.getSumTotalTermFreq(),
          contents == null ? 0 : contents.size(),
          ids == null ? 0 : ids.size());
    }
  }

  /** All terms in byte order, each as int32 length and bytes, then -1. */
  static void terms(String path) throws IOException {
    try (DirectoryReader reader = open(path);
        OutputStream out = new BufferedOutputStream(System.out, 1 << 20)) {
      Terms contents = MultiTerms.getTerms(reader, "contents");
      if (contents != null) {
        TermsEnum all = contents.iterator();
        for (BytesRef term = all.next(); term != null; term = all.next()) {
          out.write(littleEndian(term.length));
          out.write(term.bytes, term.offset, term.length);
        }
      }
      out.write(littleEndian(-1));
    }
  }

  /**
   * For each row on stdin (id: a document, terms: those asked for) an int32 found (0 or 1), then
   * an int32 impact for each term, 0 where the document lacks it.
   */
  static void impacts(String path) throws IOException {
    Frames frames = new Frames(new BufferedInputStream(System.in, 1 << 20));
    try (DirectoryReader reader = open(path);
        OutputStream out = new BufferedOutputStream(System.out, 1 << 20)) {
      for (Frames.Rows rows = frames.next(); rows != null; rows = frames.next()) {
        for (int i = 0; i < rows.ids.length; i++) {
          int n = rows.start[i + 1] - rows.start[i];
          ByteBuffer answer = ByteBuffer.allocate(4 + 4 * n).order(ByteOrder.LITTLE_ENDIAN);
          for (LeafReaderContext leaf : reader.leaves()) {
            PostingsEnum document =
                leaf.reader().postings(new Term("id", new BytesRef(rows.ids[i])), PostingsEnum.NONE);
            if (document == null || document.nextDoc() == DocIdSetIterator.NO_MORE_DOCS) {
              continue;
            }
            answer.putInt(0, 1);
            for (int j = 0; j < n; j++) {
              Term term = new Term("contents", frames.term(rows.terms[rows.start[i] + j]));
              PostingsEnum postings = leaf.reader().postings(term, PostingsEnum.FREQS);
              if (postings != null && postings.advance(document.docID()) == document.docID()) {
                answer.putInt(4 + 4 * j, postings.freq());
              }
            }
          }
          out.write(answer.array());
        }
      }
    }
  }

  private static byte[] littleEndian(int value) {
    return ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putInt(value).array();
  }
}
