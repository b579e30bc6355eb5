package splade_bridge;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.HexFormat;
import org.apache.lucene.document.BinaryDocValuesField;
import org.apache.lucene.document.Document;
import org.apache.lucene.document.Field;
import org.apache.lucene.document.FieldType;
import org.apache.lucene.document.NumericDocValuesField;
import org.apache.lucene.document.StoredField;
import org.apache.lucene.document.StringField;
import org.apache.lucene.index.IndexOptions;
import org.apache.lucene.index.IndexWriter;
import org.apache.lucene.index.IndexWriterConfig;
import org.apache.lucene.index.NoMergePolicy;
import org.apache.lucene.index.Term;
import org.apache.lucene.store.FSDirectory;
import org.apache.lucene.util.BytesRef;

/**
 * Makes an index as another program might, for test_foreign_lucene.py: the folder, then what is
 * done, as {@code add|ID|TERM=IMPACT,...}, {@code update}, {@code delete}, {@code none} (no id),
 * {@code number} (an id that is one) and {@code commit}. Ids are bytes in hexadecimal, and so are
 * texts of further fields that are stored, {@code |FIELD=TEXT}.
 */
final class Foreign {
  public static void main(String[] args) throws Exception {
    IndexWriterConfig config = new IndexWriterConfig().setMergePolicy(NoMergePolicy.INSTANCE);
    try (IndexWriter writer = new IndexWriter(FSDirectory.open(Path.of(args[0])), config)) {
      for (int i = 1; i < args.length; i++) {
        String[] told = args[i].split("\\|", -1);
        BytesRef id = told.length > 1 ? bytes(told[1]) : null;
        switch (told[0]) {
          case "commit" -> writer.commit();
          case "delete" -> writer.deleteDocuments(new Term("id", id));
          case "update" -> writer.updateDocument(new Term("id", id), document(told, id));
          default -> writer.addDocument(document(told, id));
        }
      }
    }
  }

  private static BytesRef bytes(String hexadecimal) {
    return new BytesRef(HexFormat.of().parseHex(hexadecimal));
  }

  private static Document document(String[] told, BytesRef id) {
    Document document = new Document();
    if (told[0].equals("number")) {
      document.add(new NumericDocValuesField("id", 7));
    } else if (!told[0].equals("none")) {
      document.add(new StringField("id", new String(id.bytes, StandardCharsets.UTF_8), Field.Store.YES));
      document.add(new BinaryDocValuesField("id", id));
    }
    String[] postings = told[2].split(",");
    BytesRef[] terms = new BytesRef[postings.length];
    int[] impacts = new int[postings.length];
    for (int i = 0; i < postings.length; i++) {
      terms[i] = new BytesRef(postings[i].split("=")[0]);
      impacts[i] = Integer.parseInt(postings[i].split("=")[1]);
    }
    FrequencyStream stream = new FrequencyStream();
    stream.set(terms, impacts, 0, terms.length);
    FieldType type = new FieldType();
    type.setIndexOptions(IndexOptions.DOCS_AND_FREQS);
    document.add(new Field("contents", stream, type));
    for (int i = 3; i < told.length; i++) {
      String[] stored = told[i].split("=", 2);
      document.add(new StoredField(stored[0], bytes(stored[1]).utf8ToString()));
    }
    return document;
  }
}
