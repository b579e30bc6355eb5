package splade_bridge;

import java.io.BufferedInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.tokenattributes.BytesTermAttribute;
import org.apache.lucene.analysis.tokenattributes.TermFrequencyAttribute;
import org.apache.lucene.document.BinaryDocValuesField;
import org.apache.lucene.document.Document;
import org.apache.lucene.document.Field;
import org.apache.lucene.document.FieldType;
import org.apache.lucene.document.StringField;
import org.apache.lucene.index.IndexOptions;
import org.apache.lucene.index.IndexWriter;
import org.apache.lucene.index.IndexWriterConfig;
import org.apache.lucene.store.FSDirectory;
import org.apache.lucene.util.BytesRef;

/**
 * Writes an impact index from rows on stdin, with the fields that Anserini writes: id (stored, and
 * as doc values) and contents (documents and frequencies, with norms). An impact becomes a term
 * frequency through TermFrequencyAttribute; no term is ever written twice.
 */
final class BuildIndex {
  private BuildIndex() {}

  static void run(String path, int threads, int bufferMegabytes) throws Exception {
    FieldType type = new FieldType();
    type.setIndexOptions(IndexOptions.DOCS_AND_FREQS);
    type.freeze();
    IndexWriterConfig config =
        new IndexWriterConfig()
            .setOpenMode(IndexWriterConfig.OpenMode.CREATE)
            .setSimilarity(new ImpactSimilarity())
            .setRAMBufferSizeMB(bufferMegabytes)
            .setUseCompoundFile(false);
    try (FSDirectory directory = FSDirectory.open(Path.of(path));
        IndexWriter writer = new IndexWriter(directory, config)) {
      Frames frames = new Frames(new BufferedInputStream(System.in, 1 << 20));
      if (threads == 1) { // keeps the order of the input
        for (Frames.Rows rows = frames.next(); rows != null; rows = frames.next()) {
          add(writer, frames, rows, type, new ImpactStream());
        }
      } else {
        addInParallel(writer, frames, type, threads - 1); // this one reads and looks terms up
      }
      writer.commit();
      writer.forceMerge(1);
      writer.commit();
    }
    ReadIndex.stats(path);
  }

  /** One writer keeps the order of the input; each further one makes segments that are merged. */
  private static void addInParallel(IndexWriter writer, Frames frames, FieldType type, int writers)
      throws Exception {
    ThreadPoolExecutor pool =
        new ThreadPoolExecutor(
            writers, writers, 0, TimeUnit.SECONDS, new ArrayBlockingQueue<>(2 * writers),
            (task, executor) -> waitForRoom(task, executor));
    List<Future<?>> open = new ArrayList<>();
    for (Frames.Rows rows = frames.next(); rows != null; rows = frames.next()) {
      Frames.Rows block = rows;
      // Terms are looked up here: the table grows while other threads work.
      BytesRef[] terms = new BytesRef[block.terms.length];
      for (int i = 0; i < terms.length; i++) {
        terms[i] = frames.term(block.terms[i]);
      }
      open.add(
          pool.submit(
              () -> {
                add(writer, terms, block, type, new ImpactStream());
                return null;
              }));
      open.removeIf(f -> f.isDone() && succeeded(f));
    }
    pool.shutdown();
    for (Future<?> f : open) {
      f.get();
    }
  }

  private static void waitForRoom(Runnable task, ThreadPoolExecutor executor) {
    try {
      executor.getQueue().put(task);
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  private static boolean succeeded(Future<?> done) {
    try {
      done.get();
      return true;
    } catch (InterruptedException | ExecutionException e) {
      throw new IllegalStateException(e.getCause() == null ? e : e.getCause());
    }
  }

  private static void add(
      IndexWriter writer, Frames frames, Frames.Rows rows, FieldType type, ImpactStream stream)
      throws IOException {
    BytesRef[] terms = new BytesRef[rows.terms.length];
    for (int i = 0; i < terms.length; i++) {
      terms[i] = frames.term(rows.terms[i]);
    }
    add(writer, terms, rows, type, stream);
  }

  private static void add(
      IndexWriter writer, BytesRef[] terms, Frames.Rows rows, FieldType type, ImpactStream stream)
      throws IOException {
    for (int i = 0; i < rows.ids.length; i++) {
      String id = new String(rows.ids[i], StandardCharsets.UTF_8);
      stream.set(terms, rows.impacts, rows.start[i], rows.start[i + 1]);
      Document document = new Document();
      document.add(new StringField("id", id, Field.Store.YES));
      document.add(new BinaryDocValuesField("id", new BytesRef(rows.ids[i])));
      document.add(new Field("contents", stream, type));
      try {
        writer.addDocument(document);
      } catch (IllegalArgumentException e) {
        throw new IOException("document " + id + ": " + e.getMessage(), e);
      }
    }
  }

  /** The terms of one row, each once, with its impact as the frequency. */
  private static final class ImpactStream extends TokenStream {
    private final BytesTermAttribute term = addAttribute(BytesTermAttribute.class);
    private final TermFrequencyAttribute frequency = addAttribute(TermFrequencyAttribute.class);
    private BytesRef[] terms;
    private int[] impacts;
    private int at;
    private int end;

    void set(BytesRef[] terms, int[] impacts, int start, int end) {
      this.terms = terms;
      this.impacts = impacts;
      this.at = start;
      this.end = end;
    }

    @Override
    public boolean incrementToken() {
      if (at == end) {
        return false;
      }
      clearAttributes();
      term.setBytesRef(terms[at]);
      frequency.setTermFrequency(impacts[at]);
      at++;
      return true;
    }
  }
}
