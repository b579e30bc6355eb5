package splade_bridge;

import java.io.BufferedInputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import org.apache.lucene.document.Document;
import org.apache.lucene.document.FeatureField;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.index.IndexWriter;
import org.apache.lucene.index.IndexWriterConfig;
import org.apache.lucene.search.BooleanClause;
import org.apache.lucene.search.BooleanQuery;
import org.apache.lucene.search.BoostQuery;
import org.apache.lucene.search.IndexSearcher;
import org.apache.lucene.search.ScoreDoc;
import org.apache.lucene.store.ByteBuffersDirectory;

/**
 * What Lucene's feature fields make of weights, for test_feature_fields.py.
 *
 * <p>Read from stdin, big-endian: documents, terms, queries (int32), a float32 matrix of documents,
 * one of queries; 0 is no feature. Written: the stored value of each cell of the documents' matrix,
 * and a float32 matrix of scores, queries x documents; 0 is no hit. A query is what Elasticsearch
 * and OpenSearch make of theirs: clauses of boosted linear functions of weight 1.
 */
final class Features {
  public static void main(String[] args) throws Exception {
    DataInputStream in = new DataInputStream(new BufferedInputStream(System.in));
    int rows = in.readInt();
    int terms = in.readInt();
    int queries = in.readInt();
    float[] stored = new float[rows * terms];
    ByteBuffersDirectory directory = new ByteBuffersDirectory();
    try (IndexWriter writer = new IndexWriter(directory, new IndexWriterConfig())) {
      for (int row = 0; row < rows; row++) {
        Document document = new Document();
        for (int term = 0; term < terms; term++) {
          float weight = in.readFloat();
          if (weight != 0) {
            document.add(new FeatureField("v", "t" + term, weight));
          }
        }
        writer.addDocument(document);
      }
      writer.forceMerge(1);
    }
    DataOutputStream out = new DataOutputStream(new java.io.BufferedOutputStream(System.out));
    try (DirectoryReader reader = DirectoryReader.open(directory)) {
      IndexSearcher searcher = new IndexSearcher(reader);
      for (int term = 0; term < terms; term++) {
        var one = FeatureField.newLinearQuery("v", "t" + term, 1f);
        for (ScoreDoc hit : searcher.search(one, rows).scoreDocs) {
          stored[hit.doc * terms + term] = hit.score;
        }
      }
      for (float value : stored) {
        out.writeFloat(value);
      }
      for (int query = 0; query < queries; query++) {
        BooleanQuery.Builder clauses = new BooleanQuery.Builder();
        for (int term = 0; term < terms; term++) {
          float weight = in.readFloat();
          if (weight != 0) {
            var linear = FeatureField.newLinearQuery("v", "t" + term, 1f);
            clauses.add(new BoostQuery(linear, weight), BooleanClause.Occur.SHOULD);
          }
        }
        float[] scores = new float[rows];
        for (ScoreDoc hit : searcher.search(clauses.build(), rows).scoreDocs) {
          scores[hit.doc] = hit.score;
        }
        for (float score : scores) {
          out.writeFloat(score);
        }
      }
    }
    out.flush();
  }
}
